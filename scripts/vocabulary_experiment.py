"""Measure what vocabulary surgery costs and gains, on runs of scripts.reproduce.

  python -m scripts.vocabulary_experiment trim RUN --data DIR --out OUT
  python -m scripts.vocabulary_experiment tie RUN --tied OTHER-RUN --data DIR --out OUT
  python -m scripts.vocabulary_experiment starts RUN --data DIR --out OUT
  python -m scripts.vocabulary_experiment language RUN --raw DIR --pair en-cs --data DIR --out OUT

RUN is the folder of a row (with command.json and checkpoint_best.pt). Every training uses the
options of that row, except those given after --. Started again, the command continues where it
stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import tiednmt.plugin  # noqa: F401
from scripts.lab import vocabulary
from scripts.lab.vocabulary import Trained, require_run, show
from tiednmt.commandline import command_parser, quiet_libraries
from tiednmt.errors import UserError, resumable_command
from tiednmt.modes import THREE_WAY, TYINGS
from tiednmt.options import positive


@resumable_command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    parser = command_parser("python -m scripts.vocabulary_experiment", __doc__)
    parser.add_argument(
        "measure", choices=("trim", "tie", "starts", "language"), help="what to measure"
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a trained row")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="its prepared folder"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder to fill")
    parser.add_argument("--seed", type=positive, default=1, metavar="N", help="random seed")
    parser.add_argument(
        "--subset", action="append", default=[], metavar="NAME", help="test set; may be repeated"
    )
    parser.add_argument(
        "--updates",
        type=positive,
        nargs="+",
        default=[],
        metavar="N",
        help="updates to train for (tie), to score after (starts), or of both stages (language)",
    )
    parser.add_argument("--tied", type=Path, metavar="RUN", help="tie: row that was trained tied")
    parser.add_argument("--tying", choices=TYINGS[1:], default=THREE_WAY, help="tie: its tying")
    parser.add_argument(
        "--merges",
        type=positive,
        default=300,
        metavar="N",
        help="starts, language: number of additional merges",
    )
    parser.add_argument(
        "--vectors",
        type=Path,
        metavar="FILE",
        help="starts: also initialise new rows from word vectors",
    )
    parser.add_argument("--rows-alone", action="store_true", help="starts: train only the new rows")
    parser.add_argument(
        "--pair", default="en-cs", metavar="SRC-TGT", help="language: the new language pair"
    )
    parser.add_argument(
        "--raw",
        type=Path,
        metavar="DIR",
        help="language: folder of its raw text: train.*, valid.* and <subset>.*",
    )
    args = parser.parse_args(words[:end])
    if args.measure == "language" and len(args.updates) not in (0, 2):
        raise UserError(
            "language: --updates takes two numbers, of the new rows and of the whole model"
        )
    if args.measure == "tie" and len(args.updates) > 1:
        raise UserError("tie: --updates takes one number")
    quiet_libraries()
    require_run(args.run)
    args.out.mkdir(parents=True, exist_ok=True)
    trained = Trained(args.run, args.data, args.out, words[end + 1 :], args.seed)
    subsets = args.subset or ["test"]
    if args.measure == "trim":
        figures = vocabulary.trim(trained, subsets)
    elif args.measure == "tie":
        if args.tied is None:
            raise UserError("tie needs --tied RUN, to compare with")
        tied = args.tied / "checkpoint_best.pt"
        updates = (args.updates or [1000])[0]
        figures = vocabulary.tie(trained, tied, subsets[0], updates, args.tying)
    elif args.measure == "starts":
        updates = [0, *(args.updates or [100, 500])]
        figures = vocabulary.starts(trained, args.merges, updates, args.vectors, args.rows_alone)
    else:
        if args.raw is None:
            raise UserError("language needs --raw DIR")
        source, _, target = args.pair.partition("-")
        names = ("train", "valid", subsets[0])
        texts = {n: (args.raw / f"{n}.{source}", args.raw / f"{n}.{target}") for n in names}
        first, last = args.updates or (1000, 2000)
        figures = vocabulary.language(
            trained, texts, (source, target), args.merges, (first, last), subsets[0]
        )
    show(args.measure, figures, args.out)


if __name__ == "__main__":
    main()

"""Average the weights of several checkpoints of one training run.

  python -m scripts.average runs/three-way --last 5 --output runs/three-way/average.pt
  python -m scripts.average a/checkpoint8.pt a/checkpoint9.pt --output a/average.pt

--last N averages the N most recent checkpoints (by update; by epoch if only epoch checkpoints
exist). Tied matrices stay tied. The averages of --store-ema are averaged too. The result can
translate and can be fine-tuned, but training cannot resume from it, since it has no optimizer
state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tiednmt.plugin  # noqa: F401
from tiednmt.averaging import average, last_checkpoints
from tiednmt.checkpoints import write_checkpoint
from tiednmt.commandline import command_parser
from tiednmt.errors import one_line_errors
from tiednmt.files import refuse_to_replace
from tiednmt.options import positive


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("python -m scripts.average", __doc__)
    parser.add_argument(
        "checkpoints",
        nargs="+",
        type=Path,
        metavar="CHECKPOINT",
        help="checkpoints; with --last, their folder",
    )
    parser.add_argument(
        "--last", type=positive, metavar="N", help="average the N most recent checkpoints"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="file to write")
    args = parser.parse_args(argv)
    paths = args.checkpoints
    if args.last:
        if len(paths) != 1 or not paths[0].is_dir():
            parser.error("--last takes the folder of one run")
        paths = last_checkpoints(paths[0], args.last)
    refuse_to_replace(args.output, *paths)
    state = average(paths)
    write_checkpoint(args.output, state)
    print(f"{args.output}: the mean of {', '.join(path.name for path in paths)}")


if __name__ == "__main__":
    main()

"""Perplexity of language models on a subset of a prepared corpus, or on plain text.

One stream from beginning to end with the recurrent state carried along, as the literature scores,
or, if the model was trained with --sample-break-mode eos, each line from an empty state; base e;
every token counts, the ends of lines included where training had them.

  python -m scripts.perplexity runs/wt/checkpoint_best.pt --data data/ptb --subset test
  python -m scripts.perplexity runs/wt/checkpoint_best.pt --data data/ptb --input page.txt
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.lab.score.perplexity import Scorer
from tiednmt.commandline import add_cpu, command_parser, quiet_libraries
from tiednmt.errors import one_line_errors
from tiednmt.files import write_json


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("python -m scripts.perplexity", __doc__)
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint of a language model"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="PREPARED", help="prepared folder"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--subset", metavar="NAME", help="set to score: train, valid or test")
    what.add_argument("--input", type=Path, metavar="FILE", help="raw text to score")
    add_cpu(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    args = parser.parse_args(argv)
    quiet_libraries()
    scorer = Scorer(args.checkpoint, args.data, args.cpu)
    figures = scorer.subset(args.subset) if args.subset is not None else scorer.text(args.input)
    if args.json:
        write_json(args.json, {**figures, "tie": scorer.tie_signature})
    tokens, unknown = figures["tokens"], figures["unknown"]
    if unknown:
        share = f"{unknown:,} of the tokens ({unknown / tokens:.2%})"
        print(f"{share} are unknown words, all of which are one to the model", file=sys.stderr)
    print(f"{tokens:,} tokens, perplexity {figures['perplexity']:.2f}")
    print(scorer.tie_signature)


if __name__ == "__main__":
    main()

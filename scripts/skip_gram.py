"""Train skip-gram word vectors with negative sampling (gensim) on a text, a sentence per line.

Writes one file that python -m scripts.analyse reads: the input embedding U and the output
embedding V (gensim's syn1neg).

  python -m scripts.skip_gram --text data/ptb/tokenised/train.txt --out runs/ptb.model
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.lab.baselines.skip_gram import SkipGram, save, train
from tiednmt.commandline import command_parser
from tiednmt.errors import one_line_errors
from tiednmt.options import add_options, from_arguments, seed


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("python -m scripts.skip_gram", __doc__)
    parser.add_argument(
        "--text", type=Path, required=True, metavar="FILE", help="text, words separated by spaces"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write")
    parser.add_argument(
        "--seed", type=seed, default=1, metavar="N", help="random seed (default: %(default)s)"
    )
    add_options(parser, SkipGram)
    args = parser.parse_args(argv)
    save(train(args.text, from_arguments(SkipGram, args), args.seed), args.out)


if __name__ == "__main__":
    main()

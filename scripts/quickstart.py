"""Train none, decoder and three-way on one corpus and compare them.

Without options: a small generated English-German corpus, a few minutes on two CPU cores. Started
again after an interruption, it goes on where it was.
"""

from __future__ import annotations

from scripts.lab.command import add_arguments, reproduce
from tiednmt.commandline import command_parser
from tiednmt.errors import one_line_errors


@one_line_errors
def main() -> None:
    """Run the experiment and print its table."""
    parser = command_parser("./scripts/quickstart.sh", __doc__)
    parser.add_argument(
        "--data",
        choices=("demo", "multi30k"),
        default="demo",
        help="demo: a generated corpus (default); multi30k: image captions, downloaded or --raw",
    )
    parser.add_argument(
        "--pair", choices=("en-de", "en-fr"), default="en-de", help="languages of multi30k"
    )
    add_arguments(parser)
    args = parser.parse_args()
    if args.data == "demo":
        if args.raw or args.pair != "en-de":
            parser.error("--raw and --pair go with --data multi30k")
        reproduce("demo", parser.prog, args)
    else:
        command = f"{parser.prog} --data multi30k --pair {args.pair}"
        reproduce(f"multi30k-{args.pair}", command, args)


if __name__ == "__main__":
    main()

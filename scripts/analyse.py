"""``tiednmt analyse`` from a clone, and which tying fits a pair of languages, by its results."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.lab.advice import Options as Advising
from scripts.lab.advice import advice_on
from tiednmt.commandline import quiet_libraries
from tiednmt.commands import analyse
from tiednmt.embeddings.settings import Options
from tiednmt.errors import one_line_errors
from tiednmt.options import add_options, from_arguments
from tiednmt.show.markdown import page

COMMAND = "python -m scripts.analyse"
_MORE = f"""
With --advise it says which tying fits a pair of languages, before anything is trained:

  {COMMAND} --advise data/multi30k-en-de
"""


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = analyse.parser_of(COMMAND, _MORE)
    add_options(parser, Advising)
    args = parser.parse_args(argv)
    if args.advise:
        if args.checkpoints:
            parser.error("--advise takes no checkpoints")
        quiet_libraries()
        return print(page(advice_on(from_arguments(Advising, args))))
    if not args.checkpoints or not args.out:
        parser.error("give checkpoints and --out, or --advise")
    analyse.run(args.checkpoints, from_arguments(Options, args), args.out)


if __name__ == "__main__":
    main()

"""Translate plain text with a trained model: one line out for each line in.

  tiednmt translate en-cs < in.txt > out.txt
  tiednmt translate en-cs --input in.txt --nbest 3
  tiednmt translate runs/checkpoint_best.pt --data data/multi30k-en-cs --input in.txt

Several models are an ensemble. In Python: tiednmt.load("en-cs").translate(["…"]).
"""

from __future__ import annotations

from collections.abc import Sequence

from tiednmt.commandline import add_models, command_parser, quiet_libraries
from tiednmt.errors import one_line_errors
from tiednmt.options import add_options, from_arguments, positive
from tiednmt.translation.settings import Search


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("tiednmt translate", __doc__)
    add_models(parser)
    parser.add_argument(
        "--input", default="-", metavar="FILE", help="plain text (default: -, stdin)"
    )
    parser.add_argument(
        "--nbest",
        type=positive,
        metavar="N",
        help="print N translations per line: line number, score and text, separated by tabs",
    )
    add_options(parser, Search)
    args = parser.parse_args(argv)
    search = from_arguments(Search, args)
    if args.nbest is not None and args.nbest > search.beam:
        parser.error(f"--nbest {args.nbest}: more than --beam {search.beam}")
    quiet_libraries()

    from tiednmt.translation.loading import load_translator
    from tiednmt.translation.streams import translate_to_stdout

    translator = load_translator(args.models, args.data, int8=args.int8 or None, cpu=args.cpu)
    with translator:
        translate_to_stdout(translator, args.input, args.nbest, **vars(search))


if __name__ == "__main__":
    main()

"""Prepare any text in one language, with one sentence or paragraph per line.

  python -m preprocess.text --train FILE... --valid FILE... --test FILE... --dest DIR

Files may be compressed and are read in order; --test is optional. White space separates words,
unless --tokenise en (or another language) asks for Moses' tokens. The end of every line is a token,
also of an empty one.
"""

from __future__ import annotations

from pathlib import Path

from preprocess.command import parser_of
from preprocess.monolingual import SUBSETS, Options, corpus_of_files, prepare
from preprocess.options import add_corpus_options
from tiednmt.errors import UserError, resumable_command
from tiednmt.options import from_arguments


@resumable_command
def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = parser_of("text", __doc__)
    for subset in SUBSETS:
        parser.add_argument(
            f"--{subset}",
            type=Path,
            nargs="+",
            action="extend",
            required=subset != "test",
            metavar="FILE",
            help=f"text files of the {subset} set",
        )
    parser.add_argument(
        "--tokenise",
        metavar="LANGUAGE",
        help="tokenise with Moses' rules for this language (default: split at white space)",
    )
    add_corpus_options(parser, Options)
    args = parser.parse_args(argv)
    options = from_arguments(Options, args)
    if args.tokenise is not None:
        _require_rules(args.tokenise)
    given = {"train": args.train, "valid": args.valid, "test": args.test}
    files = {subset: paths for subset, paths in given.items() if paths}
    prepare(corpus_of_files("text", files, language=args.tokenise), args.dest, options)


def _require_rules(language: str) -> None:
    from sacremoses.corpus import NonbreakingPrefixes

    if language not in NonbreakingPrefixes().available_langs:
        raise UserError(f"--tokenise {language}: no rules for it; give a code such as en or de")


if __name__ == "__main__":
    main()

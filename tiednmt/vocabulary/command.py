"""The command line of vocabulary surgery: ``tiednmt vocabulary COMMAND …``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tiednmt.errors import UserError
from tiednmt.modes import TYINGS
from tiednmt.options import Range, positive, seed
from tiednmt.text.lines import read_lines
from tiednmt.vocabulary.choices import BOTH, MEAN, ORIGINS, PARTS, SIDES, STARTS

if TYPE_CHECKING:
    from tiednmt.vocabulary.files import Found

MERGES = Range(0, 10**7)


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands and their options; each sets ``run``, to be called with what was parsed."""
    commands = parser.add_subparsers(dest="operation", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], help: str, model: bool = True
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        made.set_defaults(run=run)
        if model:
            made.add_argument(
                "model", type=Path, metavar="MODEL", help="checkpoint, or model folder"
            )
            made.add_argument(
                "--data",
                type=Path,
                metavar="DIR",
                help="prepared folder or data-bin of a checkpoint (default: that of its training)",
            )
        made.add_argument("--output", type=Path, required=name != "report", metavar="NEW")
        return made

    trim = command("trim", _trim, "keep the rows that a text needs, or the most frequent ones")
    trim.add_argument("--text", type=Path, nargs="+", default=[], metavar="FILE", help=_TEXT)
    trim.add_argument("--keep", type=positive, metavar="N", help="the N most frequent units, too")
    trim.add_argument(
        "--units", type=Path, metavar="FILE", help="a dictionary or list of units: these alone"
    )
    trim.add_argument(
        "--translate",
        action="store_true",
        help="keep what the model writes for the source text, too, and compare its translations",
    )
    trim.add_argument(
        "--no-characters",
        action="store_true",
        help="drop single characters that the text has not; by default they stay, so that other "
        "text can still be written",
    )

    extend = command("extend", _extend, "add rows for further units; the old ones stay as they are")
    extend.add_argument("--text", type=Path, nargs="+", default=[], metavar="FILE", help=_TEXT)
    extend.add_argument(
        "--merges", type=MERGES, default=0, metavar="N", help="learn further merges"
    )
    extend.add_argument("--language", metavar="CODE", help="of --text, if a new one")
    extend.add_argument("--pair", metavar="SRC-TGT", help="what the new folder is to translate")
    extend.add_argument(
        "--resegment",
        action="store_true",
        help="let words of the old text have new units, too; by default it stays as it was",
    )
    extend.add_argument("--symbols", type=Path, metavar="FILE", help="units, one per line")
    extend.add_argument("--side", choices=SIDES, default=BOTH, help="which dictionary gets them")
    extend.add_argument(
        "--start", choices=STARTS, default=PARTS, help="how a new row begins (default: %(default)s)"
    )
    extend.add_argument("--vectors", type=Path, metavar="FILE", help="word vectors as text")
    extend.add_argument("--seed", type=seed, default=1, metavar="N", help="of --start random")

    join = command("join", _join, "make one dictionary of two", model=False)
    join.add_argument("source", type=Path, metavar="SOURCE-DICT")
    join.add_argument("target", type=Path, metavar="TARGET-DICT")

    tie = command("tie", _tie, "make one matrix of several, row by row")
    tie.add_argument("--tying", choices=TYINGS[1:], required=True)
    tie.add_argument(
        "--from",
        dest="origin",
        choices=ORIGINS,
        default=MEAN,
        help="which rows: those of the inputs, of the output, or their mean by frequency "
        "(default: %(default)s)",
    )

    untie = command(
        "untie", _untie, "give the uses of a matrix one each; the model scores as before"
    )
    untie.add_argument("--tying", choices=TYINGS[:-1], required=True)

    told = command("report", _report, "say what the rows are used for, and what trimming costs")
    told.add_argument("--text", type=Path, nargs="+", default=[], metavar="FILE", help=_TEXT)


_MODEL = "checkpoint, or model folder"
_TEXT = (
    "raw text, named by its language, as test.en (segmented text where only a data-bin is given)"
)


def _read(args: argparse.Namespace) -> Found:
    import tiednmt.plugin  # noqa: F401
    from tiednmt.vocabulary.files import read

    return read(args.model, args.data)


def _trim(args: argparse.Namespace) -> None:
    from tiednmt.vocabulary import operations as do

    characters = not args.no_characters
    do.trim_files(
        _read(args), args.output, args.text, args.keep, args.translate, characters, args.units
    )


def _extend(args: argparse.Namespace) -> None:
    from tiednmt.vocabulary import operations as do

    if bool(args.text) == (args.symbols is not None):
        raise UserError("give either --text FILE… or --symbols FILE")
    start = do.start_from(args.start, args.vectors, args.seed)
    if args.symbols is not None:
        do.extend_by_symbols(_read(args), args.output, args.symbols, start, args.side)
        return
    pair = None
    if args.pair is not None:
        source, dash, target = args.pair.partition("-")
        if not (source and dash and target):
            raise UserError(f"--pair {args.pair}: write it as en-cs")
        pair = source, target
    merges, language, resegment = args.merges, args.language, args.resegment
    do.extend_by_text(_read(args), args.output, args.text, start, merges, language, pair, resegment)


def _join(args: argparse.Namespace) -> None:
    from tiednmt.vocabulary import operations as do

    do.join_files(args.source, args.target, args.output)


def _tie(args: argparse.Namespace) -> None:
    from tiednmt.vocabulary import operations as do

    do.tie_files(_read(args), args.output, args.tying, args.origin)


def _untie(args: argparse.Namespace) -> None:
    from tiednmt.vocabulary import operations as do

    do.untie_files(_read(args), args.output, args.tying)


def _report(args: argparse.Namespace) -> None:
    from tiednmt.vocabulary.files import require_new
    from tiednmt.vocabulary.report import report
    from tiednmt.vocabulary.segmentation import Subwords, language_of

    found = _read(args)
    if args.text and not isinstance(found.segmentation, Subwords):
        raise UserError("--text: there is no segmentation to try; give a prepared folder as --data")
    texts: dict[str, list[str]] = {}
    for path in args.text:
        assert isinstance(found.segmentation, Subwords)
        language = language_of(path, list(found.segmentation.vocabularies))
        texts.setdefault(language, []).extend(read_lines(path))
    told = report(found, texts)
    print(told)
    if args.output is not None:
        require_new(args.output)
        args.output.mkdir(parents=True)
        told.write_table(args.output / "rows.tsv")
        told.draw(args.output / "report.png")

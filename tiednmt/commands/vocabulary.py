"""Change the vocabulary of a trained model, or show what it is used for.

  tiednmt vocabulary trim runs/x/checkpoint_best.pt --text test.en --translate --output y
  tiednmt vocabulary tie runs/none/checkpoint_best.pt --tying three-way --output y

The result is a new folder with the checkpoint, its dictionaries and its segmentation; the original
model stays unchanged. See docs/vocabulary.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiednmt.commandline import command_parser, quiet_libraries
from tiednmt.errors import UserError, one_line_errors
from tiednmt.files import folder_when_whole
from tiednmt.modes import TYINGS
from tiednmt.options import Range, language_pair, positive, seed
from tiednmt.packages import optional_modules
from tiednmt.text.lines import read_lines
from tiednmt.vocabulary.choices import (
    BOTH,
    MEAN,
    ORIGINS,
    PARTS,
    RANDOM,
    SIDES,
    STARTS,
)

if TYPE_CHECKING:
    from tiednmt.vocabulary.files import StoredModel

MERGES = Range(0, 10**7)


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("tiednmt vocabulary", __doc__)
    commands = parser.add_subparsers(dest="operation", required=True, metavar="COMMAND")
    for add in (_add_trim, _add_extend, _add_join, _add_tie, _add_untie, _add_report):
        add(commands)
    args = parser.parse_args(argv)
    quiet_libraries()
    args.run(args)


def _add(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], None],
    help: str,
    model: bool = True,
    output: str = "new folder to write",
) -> argparse.ArgumentParser:
    """A command, with the model that most of them read and what they write."""
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=help[0].upper() + help[1:] + "."
    )
    made.set_defaults(run=run)
    if model:
        made.add_argument("model", type=Path, metavar="MODEL", help="checkpoint or model folder")
        made.add_argument(
            "--data",
            type=Path,
            metavar="DIR",
            help="prepared folder or data-bin of a checkpoint (default: that of its training)",
        )
    made.add_argument("--output", type=Path, required=name != "report", metavar="NEW", help=output)
    return made


def _add_trim(commands: Any) -> None:
    trim = _add(
        commands, "trim", _trim, "keep only the rows that a text needs, or the most frequent ones"
    )
    _add_text(trim)
    trim.add_argument(
        "--keep", type=positive, metavar="N", help="also keep the N most frequent units"
    )
    trim.add_argument(
        "--units", type=Path, metavar="FILE", help="keep only the units of this dictionary or list"
    )
    trim.add_argument(
        "--translate",
        action="store_true",
        help="also keep the units of the model's own translations of the source text, and compare "
        "the translations of both models",
    )
    trim.add_argument(
        "--no-characters",
        action="store_true",
        help="drop single characters that do not occur in the text (default: keep all that the "
        "model has, so that most other text can still be written)",
    )


def _add_extend(commands: Any) -> None:
    extend = _add(
        commands, "extend", _extend, "add rows for new units; the old rows stay unchanged"
    )
    _add_text(extend)
    extend.add_argument(
        "--merges", type=MERGES, metavar="N", help="number of further merges to learn (default: 0)"
    )
    extend.add_argument(
        "--language",
        metavar="CODE",
        help="language of --text, if the model does not know it or the name does not give it",
    )
    extend.add_argument("--pair", metavar="SRC-TGT", help="language pair of the new folder")
    extend.add_argument(
        "--resegment",
        action="store_true",
        help="use the new units in words of the old text, too (default: the old text is segmented "
        "as before)",
    )
    extend.add_argument("--symbols", type=Path, metavar="FILE", help="units, one per line")
    extend.add_argument(
        "--side",
        choices=SIDES,
        help=f"dictionary that gets the symbols (default: {BOTH})",
    )
    extend.add_argument(
        "--start",
        choices=STARTS,
        default=PARTS,
        help="how a new row is initialised (default: %(default)s)",
    )
    extend.add_argument(
        "--vectors", type=Path, metavar="FILE", help="word vectors as text, for --start vectors"
    )
    extend.add_argument(
        "--seed", type=seed, metavar="N", help="seed of --start random (default: 1)"
    )


def _add_join(commands: Any) -> None:
    join = _add(
        commands,
        "join",
        _join,
        "make one joint dictionary of two",
        model=False,
        output="dictionary to write",
    )
    join.add_argument("source", type=Path, metavar="SOURCE-DICT", help="source dictionary")
    join.add_argument("target", type=Path, metavar="TARGET-DICT", help="target dictionary")


def _add_tie(commands: Any) -> None:
    tie = _add(commands, "tie", _tie, "tie matrices of a trained model, row by row")
    tie.add_argument("--tying", choices=TYINGS[1:], required=True, help=_TYING)
    tie.add_argument(
        "--from",
        dest="origin",
        choices=ORIGINS,
        default=MEAN,
        help="origin of the tied rows: the input embeddings, the output embedding, or their mean "
        "weighted by frequency (default: %(default)s)",
    )


def _add_untie(commands: Any) -> None:
    untie = _add(
        commands,
        "untie",
        _untie,
        "give uses of a tied matrix matrices of their own; the model scores as before",
    )
    untie.add_argument("--tying", choices=TYINGS[:-1], required=True, help=_TYING)


def _add_report(commands: Any) -> None:
    told = _add(
        commands,
        "report",
        _report,
        "show how the rows are used, and what trimming would cost",
        output="new folder for rows.tsv, report.png and report.svg",
    )
    _add_text(told)


def _add_text(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--text",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help=_TEXT,
    )


_TYING = "tying of the new model"
_TEXT = (
    "raw text whose name gives its language, such as test.en (with only a data-bin: segmented text)"
)


def _read(args: argparse.Namespace) -> StoredModel:
    import tiednmt.plugin  # noqa: F401
    from tiednmt.vocabulary.files import read

    return read(args.model, args.data)


def _trim(args: argparse.Namespace) -> None:
    from tiednmt.vocabulary import operations as do

    do.trim_files(
        _read(args),
        args.output,
        args.text,
        keep=args.keep,
        translate=args.translate,
        characters=not args.no_characters,
        units=args.units,
    )


def _extend(args: argparse.Namespace) -> None:
    from tiednmt.vocabulary import operations as do

    if bool(args.text) == (args.symbols is not None):
        raise UserError("give either --text FILE… or --symbols FILE")
    if args.symbols is not None:
        _refuse(args, ("merges", "language", "pair", "resegment"), "--text")
    else:
        _refuse(args, ("side",), "--symbols")
    if args.start != RANDOM:
        _refuse(args, ("seed",), f"--start {RANDOM}")
    start = do.start_from(args.start, args.vectors, 1 if args.seed is None else args.seed)
    if args.symbols is not None:
        do.extend_by_symbols(_read(args), args.output, args.symbols, start, args.side or BOTH)
        return
    do.extend_by_text(
        _read(args),
        args.output,
        args.text,
        start,
        merges=args.merges or 0,
        language=args.language,
        pair=None if args.pair is None else language_pair(args.pair),
        resegment=args.resegment,
    )


def _refuse(args: argparse.Namespace, names: Sequence[str], only_with: str) -> None:
    """Refuse the options ``names`` if any was given, since they apply only with ``only_with``."""
    values = {f"--{name}": getattr(args, name) for name in names}
    given = [name for name, value in values.items() if value is not None and value is not False]
    if given:
        first = ", ".join(given[:-1])
        listed = f"{first} and {given[-1]} go" if first else f"{given[-1]} goes"
        raise UserError(f"{listed} with {only_with}")


def _join(args: argparse.Namespace) -> None:
    import tiednmt.plugin  # noqa: F401, by which a damaged dictionary is named
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

    if args.output is not None:
        require_new(args.output)
        optional_modules("--output: the picture", "matplotlib")
    stored = _read(args)
    texts: dict[str, list[str]] = {}
    for path in args.text:
        texts.setdefault(stored.segmentation.language(path), []).extend(read_lines(path))
    use = report(stored, texts)
    print(use)
    if args.output is not None:
        from tiednmt.show.pictures import draw

        with folder_when_whole(args.output) as partial:
            use.write_table(partial / "rows.tsv")
            draw([use.picture], partial)

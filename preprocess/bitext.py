r"""Prepare your own text in any two languages, from files to data-bin.

  python -m preprocess.bitext --source en --target cs \
      --train a.en a.cs [b.tsv c.tmx d.jsonl …] --valid v.en v.cs \
      [--test NAME=t.en,t.cs]… --dest DIR

Plain text comes in two files, the source first: line N of one is the translation of line N of the
other. One file may have both sides: columns (.tsv: two, or any columns that the first line names by
language code or as source and target), a translation memory (.tmx) or JSON lines (.jsonl:
{"en": "…", "cs": "…"}). Any file may be compressed with gzip, xz, bzip2 or Zstandard, whatever its
name. Several files are read in order. --valid 2000 holds out that many pairs of the training
text instead. Additional files of a test set are further references.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from preprocess.command import add_share_arguments, parser_of, share_from
from preprocess.corpus import TRAIN, VALID, Corpus, Options
from preprocess.options import add_corpus_options
from preprocess.pair_files import FORMATS, reader_of
from preprocess.pairs import Bitext, PairFile, PairSource, TextFile, line_by_line
from preprocess.prepare import prepare
from tiednmt.errors import UserError, resumable_command
from tiednmt.files import refuse_what_is_no_file
from tiednmt.options import from_arguments
from tiednmt.text.manifest import subset_fault

_NUMBER = re.compile(r"-?[0-9]{1,18}")


def sources_of(paths: Sequence[Path], source: str, target: str, option: str) -> list[PairSource]:
    """The pairs of files: alone, or two and two, by their endings.

    Args:
        paths: as given.
        source: code of the language of the first of two.
        target: code of the language of the second.
        option: what gives them, for errors.

    Raises:
        UserError: a file is missing, or a plain text has no other side or the wrong name.
    """
    return list(_sources(iter(paths), source, target, option))


def _sources(paths: Iterator[Path], source: str, target: str, option: str) -> Iterator[PairSource]:
    for path in paths:
        refuse_what_is_no_file(path, f"{option} ")
        reader = reader_of(path, source, target)
        if reader:
            yield PairFile(TextFile(path), source, target, reader)
            continue
        other = next(paths, None)
        if other is None and (reader := reader_of(path, source, target, alone=True)):
            yield PairFile(TextFile(path), source, target, reader)
            return
        if other is not None:
            refuse_what_is_no_file(other, f"{option} ")
        if other is None or reader_of(other, source, target):
            raise UserError(
                f"{option} {path}: plain text comes with its other side, {source} first and"
                f" {target} next; one file with both is {', '.join(FORMATS)}"
            )
        _require_names(path, other, source, target, option)
        yield Bitext(TextFile(path), TextFile(other), line_by_line)


def _require_names(one: Path, other: Path, source: str, target: str, option: str) -> None:
    """Refuse two files whose names say that they are something else."""
    if one == other:
        raise UserError(f"{option} {one}: given as both sides")
    for path, code, wrong in ((one, source, target), (other, target, source)):
        parts = re.split(r"[^a-z0-9_]", path.name.lower())
        if wrong.lower() in parts and code.lower() not in parts:
            raise UserError(
                f"{option} {path}: stands where {code} is wanted, but is named {wrong}; of two"
                f" files the {source} one comes first"
            )


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """The files of a corpus, as :func:`corpus_from` takes them."""
    parser.add_argument(
        "--train", type=Path, nargs="+", action="extend", required=True, metavar="FILE",
        help="training files",
    )  # fmt: skip
    parser.add_argument(
        "--valid", nargs="+", action="extend", required=True, metavar="FILE",
        help="validation files, or a number of training pairs to hold out",
    )  # fmt: skip
    parser.add_argument(
        "--test", action="append", default=[], metavar="NAME=FILE,FILE",
        help="test set, optionally with further references; may be repeated",
    )  # fmt: skip


def corpus_from(args: argparse.Namespace, name: str, languages: tuple[str, str]) -> Corpus:
    """The corpus that the command line names.

    Args:
        args: of :func:`add_text_arguments`.
        name: of the corpus.
        languages: the source's first.

    Raises:
        UserError: it contradicts itself or a file is missing.
    """
    subsets = {TRAIN: sources_of(args.train, *languages, "--train")}
    references: dict[str, list[TextFile]] = {}
    held_out = _number(args.valid)
    if held_out is None:
        paths = [Path(text) for text in args.valid]
        if len(paths) > 1 and all(map(_NUMBER.fullmatch, args.valid)) and not paths[0].exists():
            raise UserError(f"--valid {' '.join(args.valid)}: give one number, or files")
        subsets[VALID] = sources_of(paths, *languages, "--valid")
    for text in args.test:
        subset, paths = _test_set(text)
        if subset in subsets or subset == VALID:
            raise UserError(
                f"--test {text}: another set is called {subset}; write NAME=FILES with another NAME"
            )
        option = f"--test {subset}"
        refuse_what_is_no_file(paths[0], f"{option} ")
        first = 1 if reader_of(paths[0], *languages) else 2
        subsets[subset] = sources_of(paths[:first], *languages, option)
        if paths[first:]:
            for path in paths[first:]:
                refuse_what_is_no_file(path, f"{option} ")
            references[subset] = [TextFile(path) for path in paths[first:]]
    return Corpus(name, *languages, subsets, held_out or 0, references)


def _number(texts: Sequence[str]) -> int | None:
    """How many pairs to hold out, where that is what is given."""
    if len(texts) != 1 or not _NUMBER.fullmatch(texts[0]) or Path(texts[0]).exists():
        return None
    number = int(texts[0])
    if number < 1:
        raise UserError(f"--valid {number}: hold out 1 pair or more")
    return number


def _test_set(text: str) -> tuple[str, list[Path]]:
    """The name of a test set and its files, of NAME=FILE,FILE or of files alone."""
    name, named, files = text.partition("=")
    if not named or Path(text.partition(",")[0]).exists():  # a file whose name has the sign
        name, files = "test", text
    if not files:
        raise UserError(f"--test {text!r}: write NAME=FILE,FILE")
    if fault := subset_fault(name):
        raise UserError(f"--test {text}: {fault}")
    return name, [Path(path) for path in files.split(",")]


@resumable_command
def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = parser_of("bitext", __doc__)
    for side in ("source", "target"):
        parser.add_argument(
            f"--{side}", required=True, metavar="CODE", help="language code such as en or pt_BR"
        )
    add_text_arguments(parser)
    add_corpus_options(parser, Options)
    add_share_arguments(parser)
    args = parser.parse_args(argv)
    options, share = from_arguments(Options, args), share_from(args)
    corpus = corpus_from(args, "bitext", (args.source, args.target))
    prepare(corpus, args.dest, options, share)


if __name__ == "__main__":
    main()

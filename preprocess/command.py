"""The command lines of published corpora: take the raw files or download them, then prepare."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from preprocess import monolingual, plan
from preprocess.archives import PublishedCorpus
from preprocess.corpus import Corpus, Options
from preprocess.download import Download, at_address, fetch_all
from preprocess.options import add_corpus_options
from preprocess.prepare import prepare, reads
from preprocess.stages import WorkShard, one_writer
from tiednmt.commandline import command_parser
from tiednmt.errors import UserError
from tiednmt.options import from_arguments


def parallel_command(
    argv: list[str] | None,
    name: str,
    description: str | None,
    pairs: Sequence[str],
    downloads: Callable[[str], list[Download]],
    corpus_in: Callable[[Path, str], Corpus],
    **defaults: Any,
) -> None:
    """The command line of a published corpus of sentence pairs.

    Args:
        argv: the arguments; None takes those of the process.
        name: the module of ``preprocess``.
        description: what ``--help`` says.
        pairs: language pairs as ``en-de``, the default first.
        downloads: language pair → the published files.
        corpus_in: folder of those files and language pair → the corpus.
        defaults: options that are other than in :class:`preprocess.corpus.Options`.

    Raises:
        UserError: the pair is unknown, or see :func:`preprocess.prepare.prepare`.
    """
    parser = parser_of(name, description)
    default, *others = pairs
    listed = f"language pair: {', '.join([f'{default} (default)', *others])}"
    parser.add_argument("--pair", default=default, metavar="PAIR", help=listed)
    add_raw_arguments(parser)
    add_corpus_options(parser, Options)
    add_share_arguments(parser)
    parser.set_defaults(**defaults)
    args = parser.parse_args(argv)
    options, share = from_arguments(Options, args), share_from(args)
    if args.pair not in pairs:
        raise UserError(f"--pair {args.pair}: unknown pair; choose one of {', '.join(pairs)}")
    wanted = downloads(args.pair) if reads(share) else []
    prepare(corpus_in(raw_folder(args, wanted), args.pair), args.dest, options, share)


def archive_command(
    argv: list[str] | None, corpus: PublishedCorpus, description: str | None, **defaults: Any
) -> None:
    """The command line of a corpus that is published as archives; see :func:`parallel_command`."""
    parallel_command(
        argv,
        corpus.name,
        description,
        corpus.pairs,
        corpus.downloads,
        corpus.corpus_in,
        **defaults,
    )


def monolingual_command(
    argv: list[str] | None,
    name: str,
    description: str | None,
    downloads: Sequence[Download],
    corpus_in: Callable[[Path], monolingual.MonolingualCorpus],
    **defaults: Any,
) -> None:
    """The command line of a published corpus in one language.

    Args:
        argv: the arguments; None takes those of the process.
        name: the module of ``preprocess``.
        description: what ``--help`` says.
        downloads: the published files.
        corpus_in: folder of those files → the corpus.
        defaults: options that are other than in :class:`preprocess.monolingual.Options`.

    Raises:
        UserError: see :func:`preprocess.monolingual.prepare`.
    """
    parser = parser_of(name, description)
    add_raw_arguments(parser)
    add_corpus_options(parser, monolingual.Options)
    parser.set_defaults(**defaults)
    args = parser.parse_args(argv)
    options = from_arguments(monolingual.Options, args)
    monolingual.prepare(corpus_in(raw_folder(args, downloads)), args.dest, options)


def parser_of(name: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of ``python -m preprocess.<name>``."""
    return command_parser(f"python -m preprocess.{name}", description)


def add_raw_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the raw files come from."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--raw", type=Path, metavar="DIR", help="folder of raw files, instead of a download"
    )
    either.add_argument("--url", help="download from this URL instead of the publisher's")


def raw_folder(args: argparse.Namespace, downloads: Sequence[Download]) -> Path:
    """The folder of the raw files: ``--raw``, or one in ``--dest`` that they are downloaded to.

    Raises:
        UserError: ``--dest`` holds something else or a file cannot be had.
    """
    if args.raw is not None:
        return Path(args.raw)
    folder = Path(args.dest) / "download"
    if downloads:
        with one_writer(args.dest):
            fetch_all(at_address(downloads, args.url), folder)
    return folder


def add_share_arguments(parser: argparse.ArgumentParser) -> None:
    """Which share of the work a call does, for corpora that several machines prepare."""
    parser.add_argument(
        "--step",
        choices=plan.STEPS,
        metavar="STEP",
        help=f"run one step of {', '.join(plan.STEPS)} (default: all, in this order)",
    )
    parser.add_argument(
        "--shard",
        type=_fraction,
        default="1/1",
        metavar="I/N",
        help=f"with --step {' or '.join(plan.DIVIDED_STEPS)}: work on share I of N only",
    )


def _fraction(text: str) -> tuple[int, int]:
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text}: write it as 2/3, the second of three")
    return int(number), int(of)


def share_from(args: argparse.Namespace) -> WorkShard:
    """The share of the work as given on the command line."""
    number, of = args.shard
    if of > 1 and args.step not in plan.DIVIDED_STEPS:
        steps = " or --step ".join(plan.DIVIDED_STEPS)
        raise UserError(f"--shard {number}/{of}: needs --step {steps}")
    return WorkShard(args.step, number, of)

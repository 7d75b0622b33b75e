"""Parallel corpora that are published as archives: what is in them, and their command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocess.bitext import Bitext, Reader, TextFile, line_by_line
from preprocess.corpus import Corpus, Options, add_arguments, prepare, reads, share_from
from preprocess.download import Download, fetch_all
from preprocess.stages import claim
from tiednmt.errors import UserError


@dataclass(frozen=True)
class Published:
    """A bitext in an archive.

    ``member`` names its files there: ``{language}`` is the language of the file, ``{role}`` is
    ``src`` or ``ref``, ``{other}`` the language of the pair that is not English, ``{source}`` and
    ``{target}`` those of the pair. Where a file has the same name in both directions of a pair, a
    mapping gives it by language.
    """

    archive: Download
    member: str | Mapping[str, str]
    reader: Reader = line_by_line

    def bitext(self, folder: Path, source: str, target: str) -> Bitext:
        """The bitext, the archive lying in ``folder``."""

        def file(language: str, role: str) -> TextFile:
            if not isinstance(self.member, str):
                return TextFile(folder / self.archive.name, self.member[language])
            name = self.member.format(
                language=language,
                role=role,
                other=target if source == "en" else source,
                source=source,
                target=target,
            )
            return TextFile(folder / self.archive.name, name)

        return Bitext(file(source, "src"), file(target, "ref"), self.reader)


@dataclass(frozen=True)
class PublishedCorpus:
    """A corpus of several pairs; ``subsets``: pair → subset → its bitexts."""

    name: str
    subsets: Mapping[str, Mapping[str, Sequence[Published]]]

    def corpus_in(self, folder: Path, pair: str) -> Corpus:
        """The corpus of a pair whose archives lie in ``folder``.

        :raises UserError: where the pair is unknown.
        """
        subsets = self._subsets(pair)
        source, target = pair.split("-")
        return Corpus(
            self.name,
            source,
            target,
            {
                subset: tuple(bitext.bitext(folder, source, target) for bitext in bitexts)
                for subset, bitexts in subsets.items()
            },
        )

    def downloads(self, pair: str) -> list[Download]:
        """The archives of a pair.

        :raises UserError: where the pair is unknown.
        """
        bitexts = [bitext for subset in self._subsets(pair).values() for bitext in subset]
        return list(dict.fromkeys(bitext.archive for bitext in bitexts))

    def _subsets(self, pair: str) -> Mapping[str, Sequence[Published]]:
        if pair not in self.subsets:
            known = ", ".join(self.subsets)
            raise UserError(f"--pair {pair}: unknown pair; choose one of {known}")
        return self.subsets[pair]


def command(
    argv: list[str] | None, corpus: PublishedCorpus, description: str | None, **defaults: Any
) -> None:
    """The command line of a published corpus.

    :param defaults: options that are other than in :class:`preprocess.corpus.Options`.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m preprocess.{corpus.name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    first, *others = corpus.subsets
    parser.add_argument(
        "--pair", default=first, metavar="PAIR", help=", ".join([f"{first} (default)", *others])
    )
    parser.add_argument(
        "--raw", type=Path, metavar="DIR", help="the archives, in place of a download"
    )
    parser.add_argument("--url", help="download the archives from this address, not from theirs")
    add_arguments(parser)
    parser.set_defaults(**defaults)
    args = parser.parse_args(argv)
    options, share = Options.from_arguments(args), share_from(args)
    downloads = corpus.downloads(args.pair)
    raw = args.raw or args.dest / "download"
    if args.raw is None and reads(share):
        claim(args.dest)
        fetch_all([item.at(args.url) if args.url else item for item in downloads], raw)
    prepare(corpus.corpus_in(raw, args.pair), args.dest, options, share)


def with_reverses(
    subsets: Mapping[str, Mapping[str, Sequence[Published]]],
) -> dict[str, Mapping[str, Sequence[Published]]]:
    """The pairs and their reverse directions, of the same files."""
    reverses = {"-".join(reversed(pair.split("-"))): found for pair, found in subsets.items()}
    return {**subsets, **reverses}

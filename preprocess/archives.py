"""Parallel corpora that are published as archives, and what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.corpus import Corpus
from preprocess.download import Download
from preprocess.pairs import Bitext, Reader, TextFile, line_by_line


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

    @property
    def pairs(self) -> list[str]:
        """The language pairs that it comes in."""
        return list(self.subsets)

    def corpus_in(self, folder: Path, pair: str) -> Corpus:
        """The corpus of a pair whose archives lie in ``folder``."""
        source, target = pair.split("-")
        return Corpus(
            self.name,
            source,
            target,
            {
                subset: tuple(bitext.bitext(folder, source, target) for bitext in bitexts)
                for subset, bitexts in self.subsets[pair].items()
            },
        )

    def downloads(self, pair: str) -> list[Download]:
        """The archives of a pair."""
        bitexts = [bitext for subset in self.subsets[pair].values() for bitext in subset]
        return list(dict.fromkeys(bitext.archive for bitext in bitexts))


def with_reverses(
    subsets: Mapping[str, Mapping[str, Sequence[Published]]],
) -> dict[str, Mapping[str, Sequence[Published]]]:
    """The pairs and their reverse directions, of the same files."""
    reverses = {"-".join(reversed(pair.split("-"))): bitexts for pair, bitexts in subsets.items()}
    return {**subsets, **reverses}

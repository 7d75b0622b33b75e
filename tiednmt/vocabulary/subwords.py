"""Trim or extend how raw text is segmented into subwords, of which each kind has a module.

Text that is covered is segmented as before. Both for byte pairs and for sentencepiece, the list of
units that a language may use (``vocab.<language>``) decides: a unit that is not in the list is
split again by undoing the merges that made it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tiednmt.text.bpe import Symbols, continued_merges
from tiednmt.text.counts import ranked, read_counts, write_counts
from tiednmt.text.normalise import APOSTROPHE, ASCII, TYPOGRAPHIC, apostrophe_of
from tiednmt.text.pipeline import TextPipeline, TextSettings
from tiednmt.text.subwords import vocabulary_file, vocabulary_files
from tiednmt.vocabulary.segmentation import language_of

if TYPE_CHECKING:
    from typing_extensions import Self

Vocabulary = dict[str, int]  # unit → how often it was seen


@dataclass(frozen=True)
class Subwords(ABC):
    """The segmentation of a prepared folder: units that merges make.

    Attributes:
        settings: the languages, and the steps before segmentation.
        vocabularies: for each language, the units that it may use.
    """

    settings: TextSettings
    vocabularies: Mapping[str, Vocabulary]

    # --- files ---------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def read(cls, folder: Path, settings: TextSettings) -> Self:
        """Read the ``bpe`` folder of a prepared folder, whose files are whole."""

    def write(self, folder: Path) -> None:
        """Write the files that :meth:`read` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        for language, units in self.vocabularies.items():
            write_counts(vocabulary_file(folder, language), ranked(units))
        self._write_merges(folder)

    @abstractmethod
    def _write_merges(self, folder: Path) -> None: ...

    # --- use -----------------------------------------------------------------------------------

    @cached_property
    def _folder(self) -> TemporaryDirectory[str]:
        folder = TemporaryDirectory()
        self.write(Path(folder.name))
        return folder

    @cached_property
    def _pipelines(self) -> dict[str, TextPipeline]:
        """By language; a pipeline has two, so each language is both of its own pipeline's."""
        folder = Path(self._folder.name)
        return {
            code: TextPipeline(replace(self._settings_of(code), target=code), folder)
            for code in self.vocabularies
        }

    def _settings_of(self, source: str) -> TextSettings:
        """The settings with another source language, whose sentences have no tag."""
        if source == self.settings.source:
            return self.settings
        return replace(self.settings, source=source, tag="")

    def language(self, path: Path) -> str:
        """See :class:`Segmentation`."""
        return language_of(path, list(self.vocabularies))

    def units(self, line: str, language: str) -> list[str]:
        """See :class:`Segmentation`."""
        return self._pipelines[language].encode(line, language).split()

    def counts(self, language: str) -> Vocabulary:
        """How often the training text in a language has each unit.

        A unit that is too rare to be used counts for the units that it is split into.
        """
        before = self.vocabularies.get(language, {})
        frequent = {unit for unit, count in before.items() if count >= self.settings.threshold}
        counts: Counter[str] = Counter()
        for unit, count in before.items():
            for part in self.parts_of(unit, frequent):
                counts[part] += count
        return counts

    def units_of_token(self, token: str, language: str) -> list[str]:
        """See :class:`Segmentation`."""
        return self._pipelines[language].segment(token, language).split()

    @abstractmethod
    def tokens(self, line: str, language: str) -> list[str]:
        """See :class:`Segmentation`: what is segmented at once."""

    @abstractmethod
    def merged(self, token: str) -> list[str]:
        """The symbols of a token after all merges, including units that a language may not use."""

    @abstractmethod
    def written(self, token: str) -> list[str]:
        """The units of a token after all merges."""

    @abstractmethod
    def words_of(self, token: str) -> Iterator[tuple[str, ...]]:
        """The words of a token that merges stay within, as symbols."""

    @abstractmethod
    def parts_of(self, unit: str, known: Collection[str]) -> list[str]:
        """The units of ``known`` that a unit was split into before it was merged.

        Characters that are not known stay as they are.
        """

    @abstractmethod
    def spelled(self, unit: str, known: Collection[str]) -> list[str]:
        """The units of ``known`` that any string is split into."""

    # --- smaller -------------------------------------------------------------------------------

    def trimmed(self, kept: Collection[str], tokens: Iterable[str]) -> Self:
        """The segmentation with only these units.

        Args:
            kept: the units.
            tokens: tokens that these units cover and whose segmentation must stay the same. Merges
                that they pass through are kept, as are merges that lead to a unit.
        """
        units = set(kept)
        vocabularies = {
            language: {unit: count for unit, count in of.items() if unit in units}
            for language, of in self.vocabularies.items()
        }
        return replace(self._with_merges_to(units, tokens), vocabularies=vocabularies)

    @abstractmethod
    def _with_merges_to(self, units: Collection[str], tokens: Iterable[str]) -> Self:
        """With the merges that lead to these units and tokens."""

    # --- larger --------------------------------------------------------------------------------

    def extended(
        self, lines: Sequence[str], language: str, merges: int, old: Collection[str] | None
    ) -> Self:
        """The segmentation with further merges, learnt from the text of a language.

        A known language keeps the segmentation of its old text: it may not use a new unit that
        would occur there. A new one is decoded with the usual apostrophe of its text.

        Args:
            lines: raw text.
            language: of the text; may be new.
            merges: how many merges to learn, at most.
            old: the tokens of the old text in this language, if known.

        Raises:
            UserError: the model is one of sentencepiece that cannot be continued.
        """
        vocabularies = {language: {}, **self.vocabularies}
        before = replace(self, vocabularies=vocabularies)
        tokens = Counter(token for line in lines for token in before.tokens(line, language))
        before = before._with_characters_of(tokens)
        words: Counter[tuple[str, ...]] = Counter()
        for token, count in tokens.items():
            for word in before.words_of(token):
                words[word] += count
        learnt = list(continued_merges(words.items(), merges, before._fitness()))
        after = before._with_merges(learnt)
        units: Counter[str] = Counter()
        for token, count in tokens.items():
            for unit in after.written(token):
                units[unit] += count
        own = dict(self.vocabularies.get(language, {}))
        least = self.settings.threshold
        further = {u: c for u, c in units.items() if u not in own and c >= least}
        usable = {**own, **after._without_those_of(old or (), language, own, further)}
        rare = {unit: count for unit, count in units.items() if count < least}
        vocabularies = {**self.vocabularies, language: {**rare, **usable}}
        return replace(
            after, vocabularies=vocabularies, settings=self._settings_for(lines, language)
        )

    def _without_those_of(
        self, old: Collection[str], language: str, own: Vocabulary, further: Vocabulary
    ) -> Vocabulary:
        """The further units without which the tokens of the old text are segmented as before."""
        while True:  # a unit that is left out may make way for another one
            vocabularies = {**self.vocabularies, language: {**own, **further}}
            now = replace(self, vocabularies=vocabularies)
            seen = {unit for token in old for unit in now.units_of_token(token, language)}
            if seen.isdisjoint(further):
                return further
            further = {unit: count for unit, count in further.items() if unit not in seen}

    def _settings_for(self, lines: Sequence[str], language: str) -> TextSettings:
        """The settings, with the apostrophe of a new language if that is one of them."""
        if language in self.vocabularies or APOSTROPHE not in self.settings.normalisation:
            return self.settings
        typographic, ascii = (
            sum(len(kind.findall(line)) for line in lines) for kind in (TYPOGRAPHIC, ASCII)
        )
        usual = {language: apostrophe_of(typographic, ascii)}
        return replace(self.settings, apostrophes={**self.settings.apostrophes, **usual})

    def _with_characters_of(self, tokens: Iterable[str]) -> Self:
        """With every character of the tokens, so that each can be merged."""
        return self

    @abstractmethod
    def _fitness(self) -> Callable[[Symbols], bool]:
        """Which pairs may become new merges: those whose result no merge makes yet."""

    @abstractmethod
    def _with_merges(self, learnt: Sequence[Symbols]) -> Self:
        """With further merges, after all others."""


def read_vocabularies(folder: Path) -> dict[str, Vocabulary]:
    """The units that each language may use, from the ``bpe`` folder of a prepared folder."""
    return {code: dict(read_counts(path)) for code, path in vocabulary_files(folder).items()}

"""Sentences with their reference and the translation of every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from sacrebleu.metrics import CHRF

Words = tuple[tuple[str, bool], ...]  # runs of words, and whether they differ from the reference


@dataclass(frozen=True)
class Translation:
    """The translation of a row; ``chrf`` is that of the sentence, from 0 to 100."""

    row: str
    words: Words
    chrf: float


@dataclass(frozen=True)
class Sample:
    """A source, its reference and a translation per row; ``line`` is its line in the test set."""

    line: int | None
    source: str
    reference: str
    translations: tuple[Translation, ...]

    @property
    def rows(self) -> list[str]:
        """The names of the rows, in order."""
        return [translation.row for translation in self.translations]

    @property
    def gap(self) -> float:
        """How far the best translation's chrF is above the worst one's."""
        found = [translation.chrf for translation in self.translations]
        return max(found) - min(found)


@dataclass(frozen=True)
class Samples:
    """Translations worth a look.

    Attributes:
        subset: the test set.
        spread: sentences spread evenly over it.
        different: sentences that the rows translate differently; a record alone has none.
        lines: number of lines of the test set.
        languages: codes of source and target.
    """

    subset: str
    spread: Sequence[Sample]
    different: Sequence[Sample] = ()
    lines: int = 0
    languages: tuple[str, str] = ("", "")


def make_sample(
    source: str, reference: str, translations: Mapping[str, str], line: int | None = None
) -> Sample:
    """The sample of one sentence; ``translations`` by row."""
    metric = CHRF()
    return Sample(
        line,
        source,
        reference,
        tuple(
            Translation(
                row, marked(text, reference), metric.sentence_score(text, [reference]).score
            )
            for row, text in translations.items()
        ),
    )


def where_rows_differ(
    sources: Sequence[str],
    references: Sequence[str],
    translations: Mapping[str, Sequence[str]],
    count: int,
) -> list[Sample]:
    """The ``count`` sentences with the largest gap of chrF, the largest first."""
    rows = list(translations)
    lines = zip(sources, references, *translations.values(), strict=True)
    samples = [
        make_sample(source, reference, dict(zip(rows, texts, strict=True)), line)
        for line, (source, reference, *texts) in enumerate(lines, start=1)
        if len(set(texts)) > 1
    ]
    return sorted(samples, key=lambda sample: -sample.gap)[:count]


def marked(text: str, reference: str) -> Words:
    """``text`` in runs of words: those that match the reference in order, and the others."""
    words = text.split()
    found: list[tuple[str, bool]] = []
    blocks = SequenceMatcher(None, words, reference.split(), autojunk=False).get_matching_blocks()
    end = 0
    for start, _, length in blocks:
        runs = ((words[end:start], True), (words[start : start + length], False))
        found += [(" ".join(run), other) for run, other in runs if run]
        end = start + length
    return tuple(found)

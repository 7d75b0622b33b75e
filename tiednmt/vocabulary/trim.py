"""A smaller vocabulary: only the rows that are needed, bit for bit.

The remaining units score as before. The probability of the removed units is redistributed, so
beam search may rank two hypotheses differently unless that probability was small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fairseq.data import Dictionary

from tiednmt.errors import UserError
from tiednmt.frequency import frequency_order
from tiednmt.vocabulary.model import ModelState, dictionary_of
from tiednmt.vocabulary.rows import Rows


def trim(model: ModelState, kept: Collection[str]) -> ModelState:
    """The model with only the rows of these units and of the special symbols, in their old order.

    Raises:
        UserError: no unit would be left.
    """
    dictionaries = tuple(_trimmed(dictionary, kept) for dictionary in model.dictionaries)
    if all(len(dictionary) == dictionary.nspecial for dictionary in dictionaries):
        raise UserError("none of these units is in the model's dictionary, so none would be left")
    rows = [
        Rows.kept([old.index(symbol) for symbol in new.symbols])
        for old, new in zip(model.dictionaries, dictionaries, strict=True)
    ]
    return model.with_rows(None if model.source is None else rows[0], rows[-1], dictionaries)


def _trimmed(dictionary: Dictionary, kept: Collection[str]) -> Dictionary:
    wanted = set(kept)
    entries = zip(dictionary.symbols, dictionary.count, strict=True)
    units = [entry for entry in entries if entry[0] in wanted]
    special = dictionary.symbols[: dictionary.nspecial]
    return dictionary_of(dictionary, [entry for entry in units if entry[0] not in special])


def most_frequent(model: ModelState, number: int) -> set[str]:
    """The ``number`` units with the highest counts in the dictionaries.

    Raises:
        UserError: there are not that many.
    """
    counts: Counter[str] = Counter()
    for dictionary in model.dictionaries[:1] if model.is_joint else model.dictionaries:
        for row in frequency_order(dictionary):
            counts[dictionary.symbols[row]] += dictionary.count[row]
    if not 0 < number <= len(counts):
        raise UserError(f"--keep {number}: the model has {len(counts):,} units")
    return {unit for unit, _ in counts.most_common(number)}


@dataclass(frozen=True)
class Coverage:
    """How a text is segmented with a smaller vocabulary; all numbers are of running text.

    Attributes:
        tokens: number of tokens.
        units: number of units before.
        units_after: number of units after.
        changed: tokens that are split into other units than before.
        unknown: tokens with a unit that the model no longer has.
        examples: the most frequent of these.
    """

    tokens: int
    units: int
    units_after: int
    changed: int
    unknown: int
    examples: tuple[str, ...] = ()

    @classmethod
    def sum(cls, parts: Sequence[Coverage]) -> Coverage:
        """The coverage of several texts together."""
        numbers = ("tokens", "units", "units_after", "changed", "unknown")
        sums = {name: sum(getattr(part, name) for part in parts) for name in numbers}
        return cls(**sums, examples=tuple(e for part in parts for e in part.examples)[:3])

    def __str__(self) -> str:
        text = (
            f"{self.tokens:,} tokens: {_share(self.changed, self.tokens)} split into other units "
            f"({self.units:,} → {self.units_after:,} units), "
            f"{_share(self.unknown, self.tokens)} no longer covered"
        )
        return text + (f", such as {', '.join(self.examples)}" if self.examples else "")


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({part / max(whole, 1):.1%})"


def coverage(
    tokens: Mapping[str, int],
    before: Mapping[str, list[str]],
    after: Mapping[str, list[str]],
    known: Collection[str],
    kept: Collection[str],
) -> Coverage:
    """Compare how a text is segmented before and after.

    Args:
        tokens: how often each token occurs.
        before: the units of each token.
        after: the units of each token with the smaller vocabulary.
        known: the units that the model had.
        kept: the units that it still has.
    """
    known, kept = frozenset(known), frozenset(kept)
    lost: Counter[str] = Counter()
    for token, count in tokens.items():
        if known.issuperset(before[token]) and not kept.issuperset(after[token]):
            lost[token] = count
    return Coverage(
        tokens=sum(tokens.values()),
        units=sum(count * len(before[token]) for token, count in tokens.items()),
        units_after=sum(count * len(after[token]) for token, count in tokens.items()),
        changed=sum(c for token, c in tokens.items() if before[token] != after[token]),
        unknown=sum(lost.values()),
        examples=tuple(token for token, _ in lost.most_common(3)),
    )

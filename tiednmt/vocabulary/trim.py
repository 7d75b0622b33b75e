"""A smaller vocabulary: the rows that are needed, bit for bit.

The remaining units score as before. The probability of the removed units is redistributed, so a
beam may rank two hypotheses differently if it was not small.
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
    """The model with the rows of these units and of the special symbols, in their order.

    Raises:
        UserError: none is left.
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
    """The ``number`` units that the dictionaries count most often.

    Raises:
        UserError: there are fewer.
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
    """What a smaller vocabulary makes of a text.

    Attributes:
        tokens: running tokens.
        units: running units before.
        units_after: and after.
        changed: tokens that are written in other units.
        unknown: tokens that have a unit which the model does not know.
        examples: the most frequent of the last.
    """

    tokens: int
    units: int
    units_after: int
    changed: int
    unknown: int
    examples: tuple[str, ...] = ()

    @classmethod
    def sum(cls, parts: Sequence[Coverage]) -> Coverage:
        """Of several texts together."""
        numbers = ("tokens", "units", "units_after", "changed", "unknown")
        sums = {name: sum(getattr(part, name) for part in parts) for name in numbers}
        return cls(**sums, examples=tuple(e for part in parts for e in part.examples)[:3])

    def __str__(self) -> str:
        text = (
            f"{self.tokens:,} tokens: {_share(self.changed, self.tokens)} written in other units "
            f"({self.units:,} → {self.units_after:,} units), "
            f"{_share(self.unknown, self.tokens)} no longer covered"
        )
        return text + (f", as {', '.join(self.examples)}" if self.examples else "")


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({part / max(whole, 1):.1%})"


def coverage(
    tokens: Mapping[str, int],
    before: Mapping[str, list[str]],
    after: Mapping[str, list[str]],
    known: Collection[str],
    kept: Collection[str],
) -> Coverage:
    """Compare two ways to write a text.

    Args:
        tokens: how often each is there.
        before: its units.
        after: its units with the smaller vocabulary.
        known: the units that the model had.
        kept: the units that it has now.
    """
    lost: Counter[str] = Counter()
    for token, count in tokens.items():
        was_known = set(before[token]) <= set(known)
        if was_known and not set(after[token]) <= set(kept):
            lost[token] = count
    return Coverage(
        tokens=sum(tokens.values()),
        units=sum(count * len(before[token]) for token, count in tokens.items()),
        units_after=sum(count * len(after[token]) for token, count in tokens.items()),
        changed=sum(c for token, c in tokens.items() if before[token] != after[token]),
        unknown=sum(lost.values()),
        examples=tuple(token for token, _ in lost.most_common(3)),
    )

"""What the two sides of a segmented training text have in common: units, running text, scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from preprocess.letters import COMMON, script_of

Scripts = Mapping[str, float]  # script → its share of the running letters, the largest first


@dataclass(frozen=True)
class Side:
    """One side of the training text.

    Attributes:
        units: number of running units.
        shared: the share of them that occur on both sides.
        scripts: of the running letters.
    """

    units: int
    shared: float
    scripts: Scripts


@dataclass(frozen=True)
class Overlap:
    """Both sides of the training text; ``with_letters`` of their common units contain a letter."""

    with_letters: int
    source: Side
    target: Side

    @classmethod
    def of(cls, source: Mapping[str, int], target: Mapping[str, int]) -> Overlap:
        """The overlap of two texts, from the counts of their units."""
        both = source.keys() & target.keys()
        return cls(
            with_letters=sum(any(map(str.isalpha, unit)) for unit in both),
            source=_side(source, both),
            target=_side(target, both),
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Overlap:
        """The overlap that ``dataclasses.asdict`` made JSON of."""
        sides = {name: Side(**content[name]) for name in ("source", "target")}
        return cls(content["with_letters"], **sides)


def _side(counts: Mapping[str, int], both: Iterable[str]) -> Side:
    total = sum(counts.values())
    shared = sum(counts[unit] for unit in both)
    return Side(total, round(shared / total, 4) if total else 0.0, scripts_of(counts))


def scripts_of(counts: Mapping[str, int]) -> dict[str, float]:
    """The shares of scripts in the letters of texts, each of which counts as often as given."""
    letters: Counter[str] = Counter()
    for text, count in counts.items():
        for character in text:
            if (script := script_of(character)) not in ("", COMMON):
                letters[script] += count
    total = sum(letters.values())
    shares = {script: round(count / total, 4) for script, count in letters.most_common()}
    return {script: share for script, share in shares.items() if share}


def common_script(source: Scripts, target: Scripts) -> float:
    """The share of letters that two sides have in the same scripts; 1 if all shares are equal."""
    return sum(min(share, target.get(script, 0.0)) for script, share in source.items())

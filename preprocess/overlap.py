"""What the two sides of a segmented training text have in common: units, running text, scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from preprocess.letters import COMMON, script_of

Scripts = Mapping[str, float]  # share of the running letters, the most frequent script first


@dataclass(frozen=True)
class Side:
    """A side's training text: its running units, and the share of them that both sides have."""

    units: int
    shared: float
    scripts: Scripts


@dataclass(frozen=True)
class Overlap:
    """What both sides have; ``with_letters`` of the units that both have hold a letter."""

    with_letters: int
    source: Side
    target: Side

    @classmethod
    def of(cls, source: Mapping[str, int], target: Mapping[str, int]) -> Overlap:
        """The overlap of two texts, told by how often each has its units."""
        both = source.keys() & target.keys()
        return cls(
            with_letters=sum(any(map(str.isalpha, unit)) for unit in both),
            source=_side(source, both),
            target=_side(target, both),
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Overlap:
        """What ``dataclasses.asdict`` made of it."""
        sides = {name: Side(**content[name]) for name in ("source", "target")}
        return cls(content["with_letters"], **sides)


def _side(counts: Mapping[str, int], both: Iterable[str]) -> Side:
    total = sum(counts.values())
    shared = sum(counts[unit] for unit in both)
    return Side(total, round(shared / total, 4) if total else 0.0, scripts_of(counts))


def scripts_of(counts: Mapping[str, int]) -> dict[str, float]:
    """The shares of the scripts in the letters of texts that are there so many times."""
    letters: Counter[str] = Counter()
    for text, count in counts.items():
        for character in text:
            if (script := script_of(character)) not in ("", COMMON):
                letters[script] += count
    total = sum(letters.values())
    shares = {script: round(count / total, 4) for script, count in letters.most_common()}
    return {script: share for script, share in shares.items() if share}


def common_script(source: Scripts, target: Scripts) -> float:
    """How much two sides' letters are of the same scripts: 1 where they are in the same shares."""
    return sum(min(share, target.get(script, 0.0)) for script, share in source.items())

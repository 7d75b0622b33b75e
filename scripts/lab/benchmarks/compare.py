"""Two ways to do the same work, measured alternately."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm


@dataclass(frozen=True)
class Measured:
    """The figures of one run."""

    rate: float  # of the work: tokens, sentences, … per second (or what WHAT says)
    memory: float | None = None  # bytes at the peak, where they are measured
    parts: Mapping[str, float] | None = None  # milliseconds of an update, where they are measured


@dataclass(frozen=True)
class Side:
    """One of the two sides that are compared."""

    name: str
    run: Callable[[], Measured]


def compare(ours: Side, against: Side, runs: int) -> dict[str, Any]:
    """``ours``, ``against`` and their ``ratio`` over ``runs`` alternating runs.

    The first pair is a warm-up and not counted. If both measure memory, ``memory_ratio`` is added.
    """
    measured: dict[Side, list[Measured]] = {ours: [], against: []}
    for _ in tqdm(range(runs + 1), desc="pairs of runs", unit=" pairs", disable=None):
        for side, of_side in measured.items():
            of_side.append(side.run())
    mine, theirs = measured[ours][1:], measured[against][1:]
    return {
        "ours": figures(ours.name, mine),
        "against": figures(against.name, theirs),
        **ratios(mine, theirs),
    }


def ratios(ours: Sequence[Measured], against: Sequence[Measured]) -> dict[str, Any]:
    """``ratio`` of the rates pair by pair, and ``memory_ratio`` where both measured memory."""
    pairs = list(zip(ours, against, strict=True))
    spreads = {"ratio": spread([a.rate / b.rate for a, b in pairs])}
    peaks = [(a.memory, b.memory) for a, b in pairs]
    if all(a and b for a, b in peaks):
        spreads["memory_ratio"] = spread([a / b for a, b in peaks if a and b])
    return spreads


def figures(name: str, runs: Sequence[Measured]) -> dict[str, Any]:
    """The ``runs`` of a side and their median, as a record holds them."""
    rates = [run.rate for run in runs]
    side: dict[str, Any] = {
        "name": name,
        "median": _rounded(statistics.median(rates)),
        "runs": [_rounded(rate) for rate in rates],
    }
    memory = [run.memory for run in runs if run.memory]
    if memory:
        side["memory"] = round(statistics.median(memory))
    parts = [run.parts for run in runs if run.parts]
    if parts:
        side["parts"] = {
            part: round(statistics.median(run[part] for run in parts), 3) for part in parts[0]
        }
    return side


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def _rounded(value: float) -> float:
    return round(value) if value >= 100 else round(value, 2)

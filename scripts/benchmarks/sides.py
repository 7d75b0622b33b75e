"""Two ways to do the same work, measured in turn."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from scripts.recipes import ROOT
from tiednmt.errors import UserError


@dataclass(frozen=True)
class Measured:
    """What one run gave."""

    speed: float  # of the work, a second
    memory: float | None = None  # bytes at the peak, where they are measured


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    name: str
    run: Callable[[], Measured]


def compare(ours: Side, against: Side, runs: int) -> dict[str, Any]:
    """``ours``, ``against`` and their ``ratio`` over ``runs`` alternating runs.

    The first pair warms up and is not counted. Where both measure memory, ``memory_ratio`` too.
    """
    found: dict[Side, list[Measured]] = {ours: [], against: []}
    for _ in tqdm(range(runs + 1), desc="pairs of runs", unit=" pairs"):
        for side, measured in found.items():
            measured.append(side.run())
    mine, theirs = found[ours][1:], found[against][1:]
    pairs = list(zip(mine, theirs, strict=True))
    record = {
        "ours": _figures(ours, mine),
        "against": _figures(against, theirs),
        "ratio": _spread([a.speed / b.speed for a, b in pairs]),
    }
    peaks = [(a.memory, b.memory) for a, b in pairs]
    if all(a and b for a, b in peaks):
        record["memory_ratio"] = _spread([a / b for a, b in peaks if a and b])
    return record


def _figures(side: Side, runs: Sequence[Measured]) -> dict[str, Any]:
    speeds = [run.speed for run in runs]
    figures: dict[str, Any] = {
        "name": side.name,
        "median": _rounded(statistics.median(speeds)),
        "runs": [_rounded(speed) for speed in speeds],
    }
    memory = [run.memory for run in runs if run.memory]
    if memory:
        figures["memory"] = round(statistics.median(memory))
    return figures


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def _rounded(value: float) -> float:
    return round(value) if value >= 100 else round(value, 2)


def run_module(module: Sequence[str], threads: int, log: Path, cwd: Path = ROOT) -> None:
    """``python -m …`` with so many threads, its output in ``log``.

    Raises:
        UserError: it failed; with its last lines.
    """
    with log.open("w", encoding="utf-8") as output:
        status = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"},
            stdout=output,
            stderr=subprocess.STDOUT,
        ).returncode
    if status:
        tail = "".join(f"  {line}\n" for line in log.read_text().splitlines()[-10:])
        raise UserError(f"a run of the benchmark failed; its last lines:\n{tail}")

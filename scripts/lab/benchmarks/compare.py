"""Two ways to do the same work, measured alternately."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from scripts.lab.run.specs import ROOT
from tiednmt.errors import UserError


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


def run_module(
    module: Sequence[str],
    threads: int,
    log: Path,
    *,
    python: str = sys.executable,
    on_line: Callable[[str], object] = lambda line: None,
) -> float | None:
    """Run ``python -m …`` with a number of threads; its output goes to ``log``.

    ``on_line`` is called with every line as soon as it is printed.

    Returns:
        Bytes that the process held at most until its last line, on Linux; elsewhere, and where it
        may have used a GPU, none.

    Raises:
        UserError: it failed; with its last lines.
    """
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(
            [python, "-m", *module],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        peak = None
        for line in process.stdout:
            peak = _most_held(process.pid) or peak
            on_line(line)
            output.write(line)
    if process.returncode:
        tail = "".join(f"  {line}\n" for line in log.read_text("utf-8").splitlines()[-10:])
        raise UserError(f"a run of the benchmark failed; its last lines:\n{tail}")
    return None if torch.cuda.is_available() else peak


def printed_by_module(module: Sequence[str], threads: int) -> Any:
    """What ``python -m …`` prints as JSON in its last line; see :func:`run_module`."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "run.log"
        run_module(module, threads, log)
        return last_json(log)


def last_json(log: Path) -> Any:
    """The last line of ``log``."""
    return json.loads(log.read_text(encoding="utf-8").splitlines()[-1])


def peak_memory() -> float:
    """Bytes this process held at most so far: on the GPU where there is one, or else in all."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    most = _most_held("self")  # ru_maxrss counts the peak of the parent too, on Linux
    if most is not None:
        return most
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if _MACOS else 1024)


def _most_held(process: int | str) -> float | None:
    """Bytes that a process which still runs held at most so far, where Linux tells."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    lines = dict(line.split(":", 1) for line in status.splitlines())
    peak = lines.get("VmHWM")  # which a process that has ended has no more
    return 1024.0 * int(peak.removesuffix("kB")) if peak else None


_MACOS = sys.platform == "darwin"  # whose ru_maxrss is in bytes

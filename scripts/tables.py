"""What the Markdown of all records (``record.json``, ``results/*.json``) is made with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are flush left and whose others are right."""
    ruler = ["---"] * left + ["--:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *rows))


def benchmark_table(record: Mapping[str, Any]) -> str:
    """Both sides of a benchmark, the ratio with its spread, and where it was measured."""
    sides = [record["ours"], record["against"]]
    rows = [
        [s["name"], f"{s['median']:,}", f"{min(s['runs']):,}–{max(s['runs']):,}"] for s in sides
    ]
    ratio, where = record["ratio"], record["machine"]
    device = where["processor"] if where["device"] == "CPU" else where["device"]
    return "\n".join(
        (
            markdown(["", "median", "range"], rows),
            "",
            f"Ratio {ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f}). "
            f"{record['what']}; {len(sides[0]['runs'])} runs a side in turn, "
            f"{where['threads_per_run']} thread(s), {device}. `{record['command']}`",
        )
    )


def trained_on(machine: Mapping[str, Any]) -> str:
    """Where an experiment's rows were trained, and how many at a time."""
    device = machine["device"]
    if device == "CPU":
        device = f"{machine['processor']} (CPU, {machine['threads_per_run']} thread(s) a run)"
    return f"trained on {device}, {machine['runs_side_by_side']} run(s) side by side"


def duration(seconds: float) -> str:
    """Seconds, or minutes where they are more than ten."""
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"

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
    head = ["", "median", "range"]
    rows = [
        [s["name"], f"{s['median']:,}", f"{min(s['runs']):,}–{max(s['runs']):,}"] for s in sides
    ]
    if "memory_ratio" in record:
        head.append("peak memory")
        for row, side in zip(rows, sides, strict=True):
            row.append(f"{side['memory'] / 1e9:.2f} GB")
    where = record["machine"]
    device = where["processor"] if where["device"] == "CPU" else where["device"]
    ratios = f"Ratio {_with_spread(record['ratio'])}"
    if "memory_ratio" in record:
        ratios += f", of memory {_with_spread(record['memory_ratio'])}"
    text = (
        f"{ratios}. {record['what'].capitalize()}; {len(sides[0]['runs'])} runs a side in turn, "
        f"{where['threads_per_run']} thread(s), {device}. `{record['command']}`"
    )
    if "limit" in record:
        text += f"\n\n{_limit(record['limit'])}"
    return "\n".join((markdown(head, rows), "", text))


def benchmark_summary(records: Sequence[Mapping[str, Any]]) -> str:
    """A row a benchmark: what, against what, the ratios."""
    rows = [
        [
            record["ours"]["name"],
            record["against"]["name"],
            record["what"].partition(",")[0],
            str(record["machine"]["threads_per_run"]),
            _with_spread(record["ratio"]),
            f"{record['memory_ratio']['median']:.2f}" if "memory_ratio" in record else "",
        ]
        for record in records
    ]
    return markdown(["ours", "against", "measured", "threads", "ratio", "memory"], rows, left=3)


def _with_spread(ratio: Mapping[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})"


def _limit(limit: Mapping[str, Any]) -> str:
    rates = limit["gflops_per_second"]
    named = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    return (
        f"The machine's largest products, GFLOP/s: {named}; a copy, "
        f"{limit['copy_gigabytes_per_second']:.0f} GB/s. The work needs "
        f"{1000 * limit['gflops_per_token']:.1f} MFLOP a token: ours does {limit['share']:.0%} of "
        "what these products allow."
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

"""What is shown of benchmarks: two ways to do the same work, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.lab.kinds.kind import Figures, Kind
from scripts.lab.records import joining
from scripts.lab.records.schema import BenchmarkRecord, Learning, Limit, Side, Spread
from scripts.lab.show.markdown import markdown
from scripts.lab.show.pictures import plot_growth

# --- figures -----------------------------------------------------------------------------------

_NO_MEMORY = "too little memory"


def table(record: BenchmarkRecord) -> str:
    """Both sides of a benchmark, the ratio with its spread, and where it was measured."""
    if record.cells:
        return _growth_table(record)
    sides = _sides(record)
    head = ["", "median", "range"]
    rows = [[s.name, f"{s.median:,}", f"{min(s.runs):,}–{max(s.runs):,}"] for s in sides]
    if record.memory_ratio:
        head.append("peak memory")
        for row, side in zip(rows, sides, strict=True):
            row.append(_gigabytes(side))
    text = f"{_all_ratios(record.ratio, record.memory_ratio)}. {conditions(record)}"
    if any(side.parts for side in sides):
        text += f"\n\n{_parts_table(sides)}"
    if record.limit:
        text += f"\n\n{_limit(record.limit)}"
    if record.learning:
        text += f"\n\n{_learning(record.learning)}"
    if record.peak_megabytes:
        text += f" {_peaks(record.peak_megabytes)}"
    return "\n".join((markdown(head, rows), "", text))


def summary(records: Sequence[BenchmarkRecord]) -> str:
    """A row per benchmark: what, against what, the ratios."""
    rows = [
        [
            record.ours.name,
            record.against.name,
            record.title.partition(",")[0],
            str(record.machine.threads_per_run),
            _with_spread(record.ratio),
            f"{record.memory_ratio.median:.2f}" if record.memory_ratio else "",
        ]
        for record in records
    ]
    return markdown(["ours", "against", "measured", "threads", "ratio", "memory"], rows, left=3)


def conditions(record: BenchmarkRecord) -> str:
    """What was measured, how often, where, and by what command."""
    where = record.machine
    device = where.processor if where.device == "CPU" else where.device
    times = (
        f"{len(record.cells)} cells"
        if record.cells
        else f"{len(_sides(record)[0].runs)} runs a side in turn"
    )
    return (
        f"{record.title.capitalize()}; {times}, "
        f"{where.threads_per_run} thread(s), {device}. `{record.command}`"
    )


def plot(record: BenchmarkRecord, out: Path) -> None:
    """``growth`` of speed and memory, where several sizes were measured."""
    if record.cells:
        plot_growth(record, out / "growth")


def _sides(record: BenchmarkRecord) -> list[Side]:
    return [side for side in (record.ours, record.against) if isinstance(side, Side)]


def _growth_table(record: BenchmarkRecord) -> str:
    """A row per cell: speed and peak memory of both sides, and the ratios."""
    rows = []
    for cell in record.cells:
        sides = (cell.ours, cell.against)
        sizes = [f"{size:,}" for size in (cell.vocabulary, cell.length, cell.tokens)]
        speeds = [f"{side.median:,}" if side else _NO_MEMORY for side in sides]
        peaks = [_gigabytes(side) if side else "" for side in sides]
        ratios = [
            f"{ratio.median:.2f}" if ratio else "" for ratio in (cell.ratio, cell.memory_ratio)
        ]
        rows.append([*sizes, *speeds, ratios[0], *peaks, ratios[1]])
    head = ["vocabulary", "sentence", "batch", record.ours.name, record.against.name, "ratio"]
    head += [f"{name}, peak memory" for name in ("ours", "against")] + ["ratio"]
    ratios_text = _all_ratios(record.ratio, record.memory_ratio)
    text = f"{ratios_text} over the cells. {conditions(record)}"
    return "\n".join((markdown(head, rows, left=0), "", text))


def _gigabytes(side: Side) -> str:
    return f"{side.memory / 1e9:.2f} GB" if side.memory else ""


def _parts_table(sides: Sequence[Side]) -> str:
    """The parts of an update, a column per side."""
    timed = {side.name: side.parts for side in sides if side.parts}
    names = dict.fromkeys(name for parts in timed.values() for name in parts)
    rows = [[name, *(_part(parts, name) for parts in timed.values())] for name in names]
    return markdown(["milliseconds of an update", *timed], rows)


def _part(parts: Mapping[str, float], name: str) -> str:
    milliseconds = parts.get(name, 0.0)
    return f"{milliseconds:,.1f} ({milliseconds / sum(parts.values()):.0%})"


def _all_ratios(ratio: Spread, memory: Spread | None = None) -> str:
    text = f"Ratio {_with_spread(ratio)}"
    return f"{text}, of memory {_with_spread(memory)}" if memory else text


def _with_spread(ratio: Spread) -> str:
    return f"{ratio.median:.2f} ({ratio.min:.2f}–{ratio.max:.2f})"


def _limit(limit: Limit) -> str:
    named = ", ".join(f"{name} {rate:.0f}" for name, rate in limit.gflops_per_second.items())
    return (
        f"The machine's largest products, GFLOP/s: {named}; a copy, "
        f"{limit.copy_gigabytes_per_second:.0f} GB/s. The work needs "
        f"{1000 * limit.gflops_per_token:.1f} MFLOP a token: ours does {limit.share:.0%} of "
        f"what its kind of products allows, {limit.share_of_single:.0%} of what single "
        "precision's allow."
    )


def _learning(learning: Learning) -> str:
    ours, against = learning.ours, learning.against
    return (
        f"Learning the merges alone, from tokenised text: {ours.median:,} pairs a "
        f"second, {against.name} {against.median:,}; {_all_ratios(learning.ratio).lower()}."
    )


def _peaks(megabytes: Mapping[str, int]) -> str:
    peaks = ", ".join(f"{peak:,} MB with {int(pairs):,}" for pairs, peak in megabytes.items())
    return f"Peak memory of all processes together: {peaks} pairs."


KIND = Kind(
    record=BenchmarkRecord,
    figures=Figures(table, table, conditions, plot),
    join=joining.newest,
)

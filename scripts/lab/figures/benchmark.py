"""Tables and charts of benchmarks: both sides of each, their ratios, and how they grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from scripts.lab.figures.experiment import repeated
from scripts.lab.records.schema import BenchmarkRecord, Learning, Limit, Side, Spread
from tiednmt.show.figures import Axis, Block, Chart, Figures, Picture, Point, Series, Table

NO_MEMORY = "too little memory"


def figures(record: BenchmarkRecord) -> Figures:
    """Both sides of a benchmark, the ratio with its spread, and where it was measured."""
    measured = record.title.partition(",")[0]
    charts = [chart for chart in _growth(record) if chart.series]
    summary = _of_cells(record) if record.cells else _of_sides(record)
    return Figures(
        title=f"{record.ours.name} against {record.against.name}: {measured}",
        names=list(dict.fromkeys(series.name for chart in charts for series in chart.series)),
        summary=[*([Picture("growth", charts)] if charts else []), *summary],
        parts=repeated(record),
    )


def summary_table(records: Sequence[BenchmarkRecord]) -> Table:
    """A row per benchmark: what, against what, the ratios."""
    rows = [
        [
            record.ours.name,
            record.against.name,
            record.title.partition(",")[0],
            _device(record),
            str(record.machine.threads_per_run),
            _with_spread(record.ratio),
            f"{record.memory_ratio.median:.2f}" if record.memory_ratio else "",
        ]
        for record in records
    ]
    head = ["ours", "against", "measured", "machine", "threads", "ratio", "memory"]
    return Table(head, rows, left=4)


# --- one size ----------------------------------------------------------------------------------


def _of_sides(record: BenchmarkRecord) -> list[Block]:
    sides = _sides(record)
    head = ["", "median", "range"]
    rows = [[s.name, f"{s.median:,}", f"{min(s.runs):,}–{max(s.runs):,}"] for s in sides]
    if record.memory_ratio:
        head.append("peak memory")
        for row, side in zip(rows, sides, strict=True):
            row.append(_gigabytes(side))
    text = f"{_all_ratios(record.ratio, record.memory_ratio)}. {_conditions(record)}"
    paragraphs = [text, *([_limit(record.limit)] if record.limit else [])]
    if record.learning:
        paragraphs.append(_learning(record.learning))
    if record.peak_megabytes:
        paragraphs[-1] += f" {_peaks(record.peak_megabytes)}"
    if any(side.warm_up for side in sides):
        paragraphs.append(_warm_up(sides))
    blocks: list[Block] = [Table(head, rows, caption=record.title.capitalize()), *paragraphs]
    if any(side.parts for side in sides):
        blocks.insert(2, _parts_table(sides))
    return blocks


def _sides(record: BenchmarkRecord) -> list[Side]:
    return [side for side in (record.ours, record.against) if isinstance(side, Side)]


def _parts_table(sides: Sequence[Side]) -> Table:
    """The parts of an update, a column per side."""
    timed = {side.name: side.parts for side in sides if side.parts}
    names = dict.fromkeys(name for parts in timed.values() for name in parts)
    rows = [[name, *(_part(parts, name) for parts in timed.values())] for name in names]
    return Table(["milliseconds per update", *timed], rows, caption="Parts of an update")


def _part(parts: Mapping[str, float], name: str) -> str:
    milliseconds = parts.get(name, 0.0)
    return f"{milliseconds:,.1f} ({milliseconds / sum(parts.values()):.0%})"


def _gigabytes(side: Side) -> str:
    return f"{side.memory / 1e9:.2f} GB" if side.memory else ""


# --- growth ------------------------------------------------------------------------------------


def _of_cells(record: BenchmarkRecord) -> list[Block]:
    """A row per cell: speed and peak memory of both sides, and the ratios."""
    rows = []
    for cell in record.cells:
        sides = (cell.ours, cell.against)
        sizes = [f"{size:,}" for size in (cell.vocabulary, cell.length, cell.tokens)]
        speeds = [f"{side.median:,}" if side else NO_MEMORY for side in sides]
        peaks = [_gigabytes(side) if side else "" for side in sides]
        ratios = [
            f"{ratio.median:.2f}" if ratio else "" for ratio in (cell.ratio, cell.memory_ratio)
        ]
        rows.append([*sizes, *speeds, ratios[0], *peaks, ratios[1]])
    head = ["vocabulary", "sentence", "batch", record.ours.name, record.against.name, "ratio"]
    head += [f"{name}, peak memory" for name in ("ours", "against")] + ["ratio"]
    ratios_text = _all_ratios(record.ratio, record.memory_ratio)
    return [
        Table(head, rows, left=0, caption=record.title.capitalize()),
        f"{ratios_text} over the cells. {_conditions(record)}",
    ]


GROWTH_AXES = {"length": "tokens per sentence", "tokens": "tokens per batch"}
HEIGHTS: Mapping[str, Callable[[Side], float]] = {
    "target tokens per second": lambda side: side.median,
    "peak memory, GB": lambda side: (side.memory or 0.0) / 1e9,
}


def _growth(record: BenchmarkRecord) -> list[Chart]:
    """Speed and peak memory of both sides, along the length of sentences and of batches."""
    return [
        Chart(
            title=f"{label.partition(',')[0]}, by {along}".capitalize(),
            description=f"{label} over {along}; the figures are in the table",
            x=Axis(along, logarithmic=True),
            y=Axis(label, logarithmic=True),
            series=_series(record, axis, height),
        )
        for label, height in HEIGHTS.items()
        for axis, along in GROWTH_AXES.items()
    ]


def _series(record: BenchmarkRecord, axis: str, height: Callable[[Side], float]) -> list[Series]:
    """A series per vocabulary and side, of the cells that differ only in ``axis``."""
    (other,) = GROWTH_AXES.keys() - {axis}
    sizes = [getattr(cell, other) for cell in record.cells]
    cells = [cell for cell in record.cells if getattr(cell, other) == max(sizes, key=sizes.count)]
    cells.sort(key=lambda cell: getattr(cell, axis))
    series = [
        Series(
            f"{getattr(record, side).name.split(',')[0]}, vocabulary {vocabulary:,}",
            look=2 * number + dashed,
            points=[
                Point(getattr(cell, axis), height(measured))
                for cell in cells
                if cell.vocabulary == vocabulary
                if (measured := getattr(cell, side)) and height(measured)
            ],
            dashed=dashed,
        )
        for number, vocabulary in enumerate(sorted({cell.vocabulary for cell in cells}))
        for dashed, side in ((False, "ours"), (True, "against"))
    ]
    return [one for one in series if one.points]


# --- in words ----------------------------------------------------------------------------------


def _conditions(record: BenchmarkRecord) -> str:
    """What was measured, how often, where, and by what command."""
    if record.cells:
        times = f"{len(record.cells)} cells"
    else:
        times = record.repetition or f"{len(_sides(record)[0].runs)} runs per side, alternating"
    return (
        f"{record.title.capitalize()}; {times}, "
        f"{record.machine.threads_per_run} thread(s), {_device(record)}. `{record.command}`"
    )


def _device(record: BenchmarkRecord) -> str:
    """The name of the GPU, or else of the CPU."""
    where = record.machine
    return where.processor if where.device == "CPU" else where.device


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
        f"{1000 * limit.gflops_per_token:.1f} MFLOP per token: ours reaches {limit.share:.0%} of "
        f"the limit of its matmul precision, and {limit.share_of_single:.0%} of that of single "
        "precision."
    )


def _learning(learning: Learning) -> str:
    ours, against = learning.ours, learning.against
    return (
        f"Learning the merges alone, from tokenised text: {ours.median:,} pairs "
        f"per second, {against.name} {against.median:,}; {_all_ratios(learning.ratio).lower()}."
    )


def _warm_up(sides: Sequence[Side]) -> str:
    rounds = "; ".join(
        f"{side.name} {', '.join(f'{one:,.1f}' for one in side.warm_up)}"
        for side in sides
        if side.warm_up
    )
    return f"Milliseconds per update in the rounds of the warm-up: {rounds}."


def _peaks(megabytes: Mapping[str, int]) -> str:
    peaks = ", ".join(f"{peak:,} MB with {int(pairs):,}" for pairs, peak in megabytes.items())
    return f"Peak memory of all processes together: {peaks} pairs."

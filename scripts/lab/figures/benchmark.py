"""What is shown of benchmarks: both sides of each, their ratios, and how they grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.lab.figures.experiment import repeated
from scripts.lab.records.figures import (
    Axis,
    Block,
    Chart,
    Figures,
    Picture,
    Point,
    Series,
    Table,
)

SIDES = ("ours", "against")
NO_MEMORY = "too little memory"

Record = Mapping[str, Any]


def figures(record: Record) -> Figures:
    """Both sides of a benchmark, the ratio with its spread, and where it was measured."""
    sides = [record[side] for side in SIDES]
    summary = _of_cells(record) if "cells" in record else _of_sides(record, sides)
    return Figures(
        title=f"{sides[0]['name']} against {sides[1]['name']}: {record['what'].partition(',')[0]}",
        names=[series.name for series in _series(record)] if "cells" in record else [],
        summary=summary,
        parts=repeated(record),
    )


def summary(records: Sequence[Record]) -> Table:
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
    return Table(["ours", "against", "measured", "threads", "ratio", "memory"], rows, left=3)


def _of_sides(record: Record, sides: Sequence[Record]) -> list[Block]:
    head = ["", "median", "range"]
    rows = [
        [s["name"], f"{s['median']:,}", f"{min(s['runs']):,}–{max(s['runs']):,}"] for s in sides
    ]
    if "memory_ratio" in record:
        head.append("peak memory")
        for row, side in zip(rows, sides, strict=True):
            row.append(_gigabytes(side))
    blocks: list[Block] = [
        Table(head, rows, caption=record["what"].capitalize()),
        f"{_all_ratios(record)}. {_measured(record)}",
    ]
    if any("parts" in side for side in sides):
        blocks.append(_parts_table(sides))
    if "limit" in record:
        blocks.append(_limit(record["limit"]))
    if "learning" in record:
        blocks.append(_learning(record["learning"]))
    if record.get("peak_megabytes"):
        blocks[-1] = f"{blocks[-1]} {_peaks(record['peak_megabytes'])}"
    return blocks


def _parts_table(sides: Sequence[Record]) -> Table:
    """The parts of an update, a column a side."""
    timed = [side for side in sides if "parts" in side]
    parts = dict.fromkeys(part for side in timed for part in side["parts"])
    rows = [[part, *(_part(side["parts"], part) for side in timed)] for part in parts]
    head = ["milliseconds of an update", *(side["name"] for side in timed)]
    return Table(head, rows, caption="Parts of an update")


def _part(parts: Mapping[str, float], part: str) -> str:
    milliseconds = parts.get(part, 0.0)
    return f"{milliseconds:,.1f} ({milliseconds / sum(parts.values()):.0%})"


def _gigabytes(side: Record) -> str:
    return f"{side['memory'] / 1e9:.2f} GB"


# --- growth ------------------------------------------------------------------------------------


def _of_cells(record: Record) -> list[Block]:
    """A row a cell: speed and peak memory of both sides, and the ratios; and a picture of them."""
    rows = []
    for cell in record["cells"]:
        sizes = [f"{cell[axis]:,}" for axis in ("vocabulary", "length", "tokens")]
        speeds = [f"{cell[s]['median']:,}" if s in cell else NO_MEMORY for s in SIDES]
        peaks = [_gigabytes(cell[s]) if s in cell else "" for s in SIDES]
        kinds = ("ratio", "memory_ratio")
        found = [f"{cell[kind]['median']:.2f}" if kind in cell else "" for kind in kinds]
        rows.append([*sizes, *speeds, found[0], *peaks, found[1]])
    names = [record[side]["name"] for side in SIDES]
    head = ["vocabulary", "sentence", "batch", *names, "ratio"]
    head += [f"{name}, peak memory" for name in SIDES] + ["ratio"]
    return [
        Table(head, rows, left=0, caption=record["what"].capitalize()),
        f"{_all_ratios(record)} over the cells. {_measured(record)}",
        _growth(record),
    ]


GROWTH_AXES = {"length": "tokens a sentence", "tokens": "tokens a batch"}
HEIGHTS = {
    "target tokens a second": lambda side: side["median"],
    "peak memory, GB": lambda side: side["memory"] / 1e9,
}


def _growth(record: Record) -> Picture:
    """Speed and peak memory of both sides, along the length of sentences and of batches."""
    charts = [
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
    return Picture("growth", charts)


def _series(
    record: Record, axis: str = "length", height: Any = HEIGHTS["target tokens a second"]
) -> list[Series]:
    """Of each vocabulary and side the cells along ``axis``, which agree in the other size."""
    (other,) = GROWTH_AXES.keys() - {axis}
    sizes = [cell[other] for cell in record["cells"]]
    middle = max(sizes, key=sizes.count)
    vocabularies = sorted({cell["vocabulary"] for cell in record["cells"]})
    cells = sorted(record["cells"], key=lambda cell: cell[axis])
    series = [
        Series(
            f"{record[side]['name'].split(',')[0]}, {vocabulary:,} types",
            look=2 * number + SIDES.index(side),
            points=[
                Point(cell[axis], height(cell[side]))
                for cell in cells
                if cell["vocabulary"] == vocabulary and cell[other] == middle and side in cell
            ],
            dashed=side == "against",
        )
        for number, vocabulary in enumerate(vocabularies)
        for side in SIDES
    ]
    return [one for one in series if one.points]


# --- in words ----------------------------------------------------------------------------------


def _all_ratios(record: Record) -> str:
    ratios = f"Ratio {_with_spread(record['ratio'])}"
    if "memory_ratio" in record:
        ratios += f", of memory {_with_spread(record['memory_ratio'])}"
    return ratios


def _measured(record: Record) -> str:
    """What was measured, how often, where, and by what command."""
    where, cells = record["machine"], record.get("cells")
    device = where["processor"] if where["device"] == "CPU" else where["device"]
    times = f"{len(cells)} cells" if cells else f"{len(record['ours']['runs'])} runs a side in turn"
    return (
        f"{record['what'].capitalize()}; {times}, "
        f"{where['threads_per_run']} thread(s), {device}. `{record['command']}`"
    )


def _with_spread(ratio: Mapping[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})"


def _limit(limit: Record) -> str:
    rates = limit["gflops_per_second"]
    named = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    return (
        f"The machine's largest products, GFLOP/s: {named}; a copy, "
        f"{limit['copy_gigabytes_per_second']:.0f} GB/s. The work needs "
        f"{1000 * limit['gflops_per_token']:.1f} MFLOP a token: ours does {limit['share']:.0%} of "
        f"what its kind of products allows, {limit['share_of_single']:.0%} of what single "
        "precision's allow."
    )


def _learning(learning: Record) -> str:
    ours, against = learning["ours"], learning["against"]
    return (
        f"Learning the merges alone, from tokenised text: {ours['median']:,} pairs a "
        f"second, {against['name']} {against['median']:,}; {_all_ratios(learning).lower()}."
    )


def _peaks(megabytes: Mapping[str, int]) -> str:
    found = ", ".join(f"{peak:,} MB with {int(pairs):,}" for pairs, peak in megabytes.items())
    return f"Peak memory of all processes together: {found} pairs."

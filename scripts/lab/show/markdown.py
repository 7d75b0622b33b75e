"""Tables and sentences as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scripts.lab.records.figures import Block, Bullets, Cell, Code, Figures, Picture, Table


def page(figures: Figures) -> str:
    """All tables and sentences of a record, with captions, and what stands below figures."""
    sections = [blocks(figures.summary, below=True)]
    for part in figures.parts:
        text = blocks(part.blocks, below=True)
        sections += [f"## {part.title}", text] if text else []
    samples = [Bullets([f"{name}: {text}" for name, text in of.items()]) for of in figures.samples]
    if samples:
        sections += ["## Samples", blocks(samples)]
    return "\n\n".join(filter(None, (f"# {figures.title}", *sections))) + "\n"


def blocks(shown: Iterable[Block], below: bool = False) -> str:
    """Tables, lists and paragraphs; pictures are files of their own.

    With ``below``, tables have their caption, and what stands below figures in brackets.
    """
    texts = (_block(block, below) for block in shown if not isinstance(block, Picture))
    return "\n\n".join(texts)


def _block(block: Block, below: bool) -> str:
    if isinstance(block, Table):
        head = f"{block.caption}:\n\n" if below and block.caption else ""
        return head + table(block, below)
    if isinstance(block, Bullets):
        return "\n".join(f"- {item}" for item in block.items)
    if isinstance(block, Code):
        return "\n\n".join(filter(None, (block.caption, f"```\n{block.text}\n```")))
    return str(block)


def table(shown: Table, below: bool = False) -> str:
    """A Markdown table, without its caption; with ``below``, what stands below figures too."""
    width = len(shown.head)
    ruler = ["---"] * shown.left + ["--:"] * (width - shown.left)
    rows = [ruler, *(texts(row, below) for row in shown.rows)]
    lines = ([cell.replace("|", r"\|") for cell in cells] for cells in (shown.head, *rows))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def texts(row: Sequence[str | Cell], below: bool = False) -> list[str]:
    """The text of every column of a row of a table."""
    return [text for cell in row for text in _text(cell, below)]


def _text(cell: str | Cell, below: bool) -> Iterator[str]:
    """The text of each column of a cell; ``=`` in those that are one with the first."""
    if isinstance(cell, str):
        yield cell
        return
    yield f"{cell.text} ({cell.below})" if below and cell.below else cell.text
    yield from ["="] * (cell.span - 1)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are flush left and whose others are right."""
    ruler = ["---"] * left + ["--:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *rows))


def benchmark_table(record: Mapping[str, Any]) -> str:
    """Both sides of a benchmark, the ratio with its spread, and where it was measured."""
    if "cells" in record:
        return _growth_table(record)
    sides = [record["ours"], record["against"]]
    head = ["", "median", "range"]
    rows = [
        [s["name"], f"{s['median']:,}", f"{min(s['runs']):,}–{max(s['runs']):,}"] for s in sides
    ]
    if "memory_ratio" in record:
        head.append("peak memory")
        for row, side in zip(rows, sides, strict=True):
            row.append(f"{side['memory'] / 1e9:.2f} GB")
    text = f"{_all_ratios(record)}. {_measured(record)}"
    if any("parts" in side for side in sides):
        text += f"\n\n{_parts_table(sides)}"
    if "limit" in record:
        text += f"\n\n{_limit(record['limit'])}"
    if "learning" in record:
        text += f"\n\n{_learning(record['learning'])}"
    if record.get("peak_megabytes"):
        text += f" {_peaks(record['peak_megabytes'])}"
    return "\n".join((markdown(head, rows), "", text))


def _growth_table(record: Mapping[str, Any]) -> str:
    """A row a cell: speed and peak memory of both sides, and the ratios."""
    sides = ("ours", "against")
    rows = []
    for cell in record["cells"]:
        sizes = [f"{cell[axis]:,}" for axis in ("vocabulary", "length", "tokens")]
        speeds = [f"{cell[s]['median']:,}" if s in cell else _NO_MEMORY for s in sides]
        peaks = [f"{cell[s]['memory'] / 1e9:.2f} GB" if s in cell else "" for s in sides]
        kinds = ("ratio", "memory_ratio")
        found = [f"{cell[kind]['median']:.2f}" if kind in cell else "" for kind in kinds]
        rows.append([*sizes, *speeds, found[0], *peaks, found[1]])
    names = [record[side]["name"] for side in sides]
    head = ["vocabulary", "sentence", "batch", *names, "ratio"]
    head += [f"{name}, peak memory" for name in ("ours", "against")] + ["ratio"]
    text = f"{_all_ratios(record)} over the cells. {_measured(record)}"
    return "\n".join((markdown(head, rows, left=0), "", text))


_NO_MEMORY = "too little memory"


def _parts_table(sides: Sequence[Mapping[str, Any]]) -> str:
    """The parts of an update, a column a side."""
    timed = [side for side in sides if "parts" in side]
    parts = dict.fromkeys(part for side in timed for part in side["parts"])
    rows = [[part, *(_part(side["parts"], part) for side in timed)] for part in parts]
    head = ["milliseconds of an update", *(side["name"] for side in timed)]
    return markdown(head, rows)


def _part(parts: Mapping[str, float], part: str) -> str:
    milliseconds = parts.get(part, 0.0)
    return f"{milliseconds:,.1f} ({milliseconds / sum(parts.values()):.0%})"


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


def _all_ratios(record: Mapping[str, Any]) -> str:
    ratios = f"Ratio {_with_spread(record['ratio'])}"
    if "memory_ratio" in record:
        ratios += f", of memory {_with_spread(record['memory_ratio'])}"
    return ratios


def _measured(record: Mapping[str, Any]) -> str:
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


def _limit(limit: Mapping[str, Any]) -> str:
    rates = limit["gflops_per_second"]
    named = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    return (
        f"The machine's largest products, GFLOP/s: {named}; a copy, "
        f"{limit['copy_gigabytes_per_second']:.0f} GB/s. The work needs "
        f"{1000 * limit['gflops_per_token']:.1f} MFLOP a token: ours does {limit['share']:.0%} of "
        f"what its kind of products allows, {limit['share_of_single']:.0%} of what single "
        "precision's allow."
    )


def _learning(learning: Mapping[str, Any]) -> str:
    ours, against = learning["ours"], learning["against"]
    return (
        f"Learning the merges alone, from tokenised text: {ours['median']:,} pairs a "
        f"second, {against['name']} {against['median']:,}; {_all_ratios(learning).lower()}."
    )


def _peaks(megabytes: Mapping[str, int]) -> str:
    found = ", ".join(f"{peak:,} MB with {int(pairs):,}" for pairs, peak in megabytes.items())
    return f"Peak memory of all processes together: {found} pairs."


def trained_on(machine: Mapping[str, Any]) -> str:
    """Where an experiment's rows were trained, and how many at a time."""
    device = machine["device"]
    if device == "CPU":
        device = f"{machine['processor']} (CPU, {machine['threads_per_run']} thread(s) a run)"
    return f"trained on {device}, {machine['runs_side_by_side']} run(s) side by side"


def duration(seconds: float) -> str:
    """Seconds, or minutes where they are more than ten."""
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"

"""Pictures of a record, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from scripts.lab.records.schema import BenchmarkRecord, Cell, ExperimentRecord, Side, Validation


@dataclass(frozen=True)
class CurveAxes:
    """How the learning curves of a task are drawn."""

    x: str  # update or epoch
    y: Callable[[Validation], float]  # the height of a point
    y_label: str  # what that is
    logarithmic: bool = False  # the scale of y


def plot_curves(record: ExperimentRecord, path: Path, drawn: CurveAxes) -> None:
    """What the validations of each run gave, a line a run and a colour a row.

    Args:
        record: its ``curves`` are drawn.
        path: of the pictures, without their suffix.
        drawn: what of them.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for i, (row, seeds) in enumerate(record.curves.items()):
        for points, label in zip_longest(seeds, [row]):
            heights = [drawn.y(point) for point in points]
            axes.plot(
                [getattr(point, drawn.x) for point in points], heights, color=f"C{i}", label=label
            )
    axes.set(title=record.title, xlabel=f"{drawn.x}s", ylabel=drawn.y_label)
    if drawn.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:.0f}")
        axes.yaxis.set_minor_formatter("{x:.0f}")
    axes.legend(frameon=False)
    save(figure, path)


def plot_growth(record: BenchmarkRecord, path: Path) -> None:
    """Speed and peak memory of both sides of a benchmark's ``cells``, a colour a vocabulary.

    Args:
        record: of ``scripts.benchmark growth``.
        path: of the pictures, without their suffix.
    """
    figure = Figure(figsize=(8, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    heights = {"target tokens a second": lambda side: side.median, "peak memory, GB": _gigabytes}
    for column, (axis, other) in enumerate((("length", "tokens"), ("tokens", "length"))):
        lines = _growth_lines(record.cells, axis, other)
        for axes, (label, height) in zip(panels[:, column], heights.items(), strict=True):
            for i, (vocabulary, cells) in enumerate(lines.items()):
                for side, style in (("ours", "o-"), ("against", "x--")):
                    measured = [cell for cell in cells if getattr(cell, side)]
                    axes.plot(
                        [getattr(cell, axis) for cell in measured],
                        [height(getattr(cell, side)) for cell in measured],
                        f"C{i}{style}",
                        label=f"{getattr(record, side).name.split(',')[0]}, {vocabulary:,} types",
                    )
            axes.set(xscale="log", yscale="log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter("{x:,g}")
            if column == 0:
                axes.set_ylabel(label)
        panels[1, column].set_xlabel(_GROWTH_AXES[axis])
        sizes = sorted({getattr(cell, axis) for cell in record.cells})
        panels[1, column].set_xticks(sizes, [f"{size:,}" for size in sizes])
        panels[1, column].minorticks_off()
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    save(figure, path)


_GROWTH_AXES = {"length": "tokens a sentence", "tokens": "tokens a batch"}


def _gigabytes(side: Side) -> float:
    return (side.memory or 0.0) / 1e9


def _growth_lines(cells: Sequence[Cell], axis: str, other: str) -> dict[int, list[Cell]]:
    """Of each vocabulary the cells along ``axis``, which agree in ``other``."""
    sizes = [getattr(cell, other) for cell in cells]
    middle = max(sizes, key=sizes.count)
    lines: dict[int, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: getattr(cell, axis)):
        if getattr(cell, other) == middle:
            lines.setdefault(cell.vocabulary, []).append(cell)
    return lines


def save(figure: Figure, path: Path) -> None:
    """Write ``path.png`` and ``path.svg``, each whole or not at all."""
    for suffix in (".png", ".svg"):
        temporary = path.with_name(f"{path.name}.partial{suffix}")
        figure.savefig(temporary, dpi=150)
        temporary.replace(path.with_name(path.name + suffix))

"""Pictures of a record, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

Point = Mapping[str, float]


@dataclass(frozen=True)
class CurveAxes:
    """How the learning curves of a task are drawn."""

    x: str  # update or epoch
    y: Callable[[Point], float]  # the height of a point
    y_label: str  # what that is
    logarithmic: bool = False  # the scale of y


def plot_curves(record: Mapping[str, Any], path: Path, drawn: CurveAxes) -> None:
    """What the validations of each run gave, a line a run and a colour a row.

    Args:
        record: its ``curves`` are drawn.
        path: of the pictures, without their suffix.
        drawn: what of them.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for i, (row, seeds) in enumerate(record["curves"].items()):
        for points, label in zip_longest(seeds, [row]):
            heights = [drawn.y(point) for point in points]
            axes.plot([point[drawn.x] for point in points], heights, color=f"C{i}", label=label)
    axes.set(title=record["title"], xlabel=f"{drawn.x}s", ylabel=drawn.y_label)
    if drawn.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:.0f}")
        axes.yaxis.set_minor_formatter("{x:.0f}")
    axes.legend(frameon=False)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write ``path.png`` and ``path.svg``, each whole or not at all."""
    for suffix in (".png", ".svg"):
        temporary = path.with_name(f"{path.name}.partial{suffix}")
        figure.savefig(temporary, dpi=150)
        temporary.replace(path.with_name(path.name + suffix))

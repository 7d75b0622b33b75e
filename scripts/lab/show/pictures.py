"""Pictures of a record, as PNG and SVG by matplotlib."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

from matplotlib import color_sequences, rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import Bbox

from scripts.lab.records.figures import Bars, Chart, HeatMap, Picture, Point, Series
from scripts.lab.score.systems import file_name

SIGNS = "os^Dv"

CurvePoint = Mapping[str, float]


@dataclass(frozen=True)
class CurveAxes:
    """How the learning curves of a task are drawn."""

    x: str  # update or epoch
    y: Callable[[CurvePoint], float]  # the height of a point
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


def plot_growth(record: Mapping[str, Any], path: Path) -> None:
    """Speed and peak memory of both sides of a benchmark's ``cells``, a colour a vocabulary.

    Args:
        record: of ``scripts.benchmark growth``.
        path: of the pictures, without their suffix.
    """
    figure = Figure(figsize=(8, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    heights = {"target tokens a second": lambda side: side["median"], "peak memory, GB": _gigabytes}
    for column, (axis, other) in enumerate((("length", "tokens"), ("tokens", "length"))):
        lines = _growth_lines(record["cells"], axis, other)
        for axes, (label, height) in zip(panels[:, column], heights.items(), strict=True):
            for i, (vocabulary, cells) in enumerate(lines.items()):
                for side, style in (("ours", "o-"), ("against", "x--")):
                    measured = [cell for cell in cells if side in cell]
                    axes.plot(
                        [cell[axis] for cell in measured],
                        [height(cell[side]) for cell in measured],
                        f"C{i}{style}",
                        label=f"{record[side]['name'].split(',')[0]}, {vocabulary:,} types",
                    )
            axes.set(xscale="log", yscale="log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter("{x:,g}")
            if column == 0:
                axes.set_ylabel(label)
        panels[1, column].set_xlabel(_GROWTH_AXES[axis])
        sizes = sorted({cell[axis] for cell in record["cells"]})
        panels[1, column].set_xticks(sizes, [f"{size:,}" for size in sizes])
        panels[1, column].minorticks_off()
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    save(figure, path)


_GROWTH_AXES = {"length": "tokens a sentence", "tokens": "tokens a batch"}


def _gigabytes(side: Mapping[str, Any]) -> float:
    return side["memory"] / 1e9


def _growth_lines(
    cells: Sequence[Mapping[str, Any]], axis: str, other: str
) -> dict[int, list[Mapping[str, Any]]]:
    """Of each vocabulary the cells along ``axis``, which agree in ``other``."""
    sizes = [cell[other] for cell in cells]
    middle = max(sizes, key=sizes.count)
    lines: dict[int, list[Mapping[str, Any]]] = {}
    for cell in sorted(cells, key=lambda cell: cell[axis]):
        if cell[other] == middle:
            lines.setdefault(cell["vocabulary"], []).append(cell)
    return lines


def draw(pictures: Iterable[Picture], folder: Path) -> None:
    """Draw ``NAME.png`` and ``NAME.svg`` of every picture in ``folder``.

    Words in scripts that the default font lacks are drawn with an installed Noto Sans.
    """
    with (
        rc_context({"font.family": [*rcParams["font.family"], *_noto()]}),
        catch_warnings(record=True) as caught,
    ):
        simplefilter("always")
        for picture in pictures:
            save(_figure(picture), folder / file_name(picture.name))
    messages = dict.fromkeys(str(warning.message) for warning in caught)
    missing = [message for message in messages if message.startswith("Glyph")]
    for message in messages:
        if message not in missing:
            print(f"warning: {message}", file=sys.stderr)
    if missing:
        print(
            f"warning: {len(missing)} characters have no font here and are drawn as boxes; install "
            "Noto Sans for their script, and remove matplotlib's cache of fonts",
            file=sys.stderr,
        )


def save(figure: Figure, path: Path) -> None:
    """Write ``path.png`` and ``path.svg``, each whole or not at all."""
    for suffix in (".png", ".svg"):
        temporary = path.with_name(f"{path.name}.partial{suffix}")
        figure.savefig(temporary, dpi=150)
        temporary.replace(path.with_name(path.name + suffix))


def _noto() -> list[str]:
    names = {font.name for font in fontManager.ttflist}
    return sorted(name for name in names if name.startswith("Noto Sans"))


def _figure(picture: Picture) -> Figure:
    columns = min(picture.columns, len(picture.charts))
    rows = -(-len(picture.charts) // columns)
    sizes = [_size(chart) for chart in picture.charts]
    width, height = (max(size[i] for size in sizes) for i in (0, 1))
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, chart in zip(panels, picture.charts, strict=False):
        axes.set_title(_plain(chart.title))
        if isinstance(chart, Chart):
            _chart(axes, chart)
        elif isinstance(chart, HeatMap):
            _heat_map(figure, axes, chart)
        else:
            _bars(axes, chart)
    for axes in list(panels)[len(picture.charts) :]:
        axes.set_axis_off()
    _legend(figure)
    if picture.title:
        figure.suptitle(_plain(picture.title))
    return figure


def _size(chart: Chart | HeatMap | Bars) -> tuple[float, float]:
    """Inches that a chart wants, width and height."""
    if isinstance(chart, HeatMap):
        return 2.5 + 0.5 * len(chart.columns), 1.8 + 0.4 * len(chart.rows)
    if isinstance(chart, Bars):
        return 7.0, 1.2 + 0.6 * len(chart.bars)
    if chart.y.names:
        return 6.0, 1.5 + 0.5 * len(chart.y.names)
    return (6.0, 6.0) if _is_map(chart) else (6.0, 4.0)


def _legend(figure: Figure) -> None:
    """Below all charts, where there are several series to tell apart."""
    shown: dict[str, object] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    if len(shown) > 1:
        place = {"loc": "outside lower center", "ncols": min(4, len(shown)), "frameon": False}
        figure.legend(shown.values(), shown.keys(), **place)


# --- charts ------------------------------------------------------------------------------------


def _chart(axes: Axes, chart: Chart) -> None:
    colours = color_sequences["tab10" if max(s.look for s in chart.series) < 10 else "tab20"]
    for series in chart.series:
        _series(axes, series, colours[series.look % len(colours)], chart)
    for which in ("x", "y"):
        _scale(axes, which, chart)
    if _is_map(chart):
        axes.set(xticks=[], yticks=[])
        axes.get_figure().draw_without_rendering()  # from here on points have a place on paper
        _label_points(axes, [point for series in chart.series for point in series.points])


def _series(axes: Axes, series: Series, colour: object, chart: Chart) -> None:
    xs, ys = [point.x for point in series.points], [point.y for point in series.points]
    style = {"color": colour, "label": _plain(series.name), "marker": SIGNS[series.look % 5]}
    if _is_map(chart):
        axes.plot(xs, ys, ".", color=colour, alpha=0.5)
    elif series.joined:
        if len(series.points) > 20:
            style["marker"] = ""
        axes.plot(xs, ys, linestyle="--" if series.dashed else "-", markersize=4, **style)
    else:
        errors = {"xerr" if chart.y.names else "yerr": _errors(series.points, bool(chart.y.names))}
        axes.errorbar(xs, ys, linestyle="none", capsize=3, **errors, **style)


def _errors(points: Sequence[Point], along_x: bool) -> list[list[float]] | None:
    """How far the intervals go below and above the values; None where there are none."""
    if not any(point.interval for point in points):
        return None
    values = [point.x if along_x else point.y for point in points]
    ends = [point.interval or (v, v) for point, v in zip(points, values, strict=True)]
    return [
        [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)],
        [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)],
    ]


def _scale(axes: Axes, which: str, chart: Chart) -> None:
    axis, drawn = (chart.x, axes.xaxis) if which == "x" else (chart.y, axes.yaxis)
    drawn.set_label_text(axis.label)
    if axis.logarithmic:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        drawn.set_major_locator(LogLocator(subs=(1, 2, 5)))
        drawn.set_minor_locator(NullLocator())
        drawn.set_major_formatter("{x:,g}")
    if axis.names:
        drawn.set_ticks(range(len(axis.names)), map(_plain, axis.names))
        axes.set_ylim(len(axis.names) - 0.5, -0.5)
        axes.grid(axis="y", alpha=0.4)
        axes.axvline(0, color="black", linewidth=0.8)
    elif axis.low is not None:
        low, _ = axes.get_xlim() if which == "x" else axes.get_ylim()
        (axes.set_xlim if which == "x" else axes.set_ylim)(min(axis.low, low))


def _is_map(chart: Chart) -> bool:
    return not (chart.x.label or chart.y.label)


def _label_points(axes: Axes, points: Sequence[Point]) -> None:
    """Label them, but for those whose label would lie on one that is there."""
    labels: list[Bbox] = []
    for point in filter(lambda point: point.label, points):
        label = axes.annotate(_plain(point.label), (point.x, point.y), fontsize=7)
        box = label.get_window_extent()
        if any(box.overlaps(other) for other in labels):
            label.remove()
        else:
            labels.append(box)


# --- heat maps and bars ------------------------------------------------------------------------


def _heat_map(figure: Figure, axes: Axes, chart: HeatMap) -> None:
    grid = [[float("nan") if v is None else v for v in row] for row in chart.values]
    colours = "viridis" if chart.places is not None else "Greys"
    image = axes.imshow(grid, vmin=chart.low, vmax=chart.high, cmap=colours, aspect="auto")
    axes.set_xticks(range(len(chart.columns)), map(_plain, chart.columns), rotation=45, ha="left")
    axes.set_yticks(range(len(chart.rows)), map(_plain, chart.rows))
    axes.xaxis.tick_top()
    if chart.dots:
        rows, columns = zip(*chart.dots, strict=True)
        axes.scatter(columns, rows, s=9, color="C1")
    if chart.places is not None:
        _write_values(axes, chart.values, chart.places)
    figure.colorbar(image, label=chart.label, shrink=0.8)


def _write_values(axes: Axes, values: Sequence[Sequence[float | None]], places: int) -> None:
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            shade = "white" if value is None or value <= 0.6 else "black"
            axes.text(j, i, written(value, places), ha="center", va="center", color=shade)


def written(value: float | None, places: int) -> str:
    """A value in a cell of a heat map; never −0.00."""
    return "–" if value is None else f"{round(value, places) + 0.0:.{places}f}".replace("-", "−")


def _bars(axes: Axes, chart: Bars) -> None:
    for at, pieces in enumerate(chart.bars.values()):
        left = 0
        for piece in pieces:
            colour = "C0" if piece.strong else "lightgrey"
            axes.barh(at, piece.value, left=left, color=colour, edgecolor="white")
            if piece.value > 0.08 * _longest(chart.bars):
                axes.text(left + piece.value / 2, at, _symbols(piece.label), ha="center", va="center")
            left += piece.value
    axes.set_yticks(range(len(chart.bars)), map(_plain, chart.bars))
    axes.invert_yaxis()
    axes.set_xlabel(chart.label)
    axes.xaxis.set_major_formatter("{x:,.0f}")


def _longest(bars: Mapping[str, Sequence]) -> int:
    return max(sum(piece.value for piece in pieces) for pieces in bars.values())


def _symbols(label: str) -> str:
    """``U_src = V`` as matplotlib's formulas write it."""
    words = (word.partition("_") for word in label.split(" "))
    return " ".join(
        rf"${letter}_{{\mathrm{{{below}}}}}$" if below else _plain(letter)
        for letter, _, below in words
    )


def _plain(word: str) -> str:
    """A word that matplotlib does not take for a formula."""
    return word.replace("$", r"\$")

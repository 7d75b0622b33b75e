"""Pictures of a record, as PNG and SVG by matplotlib."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

from matplotlib import color_sequences, rc_context, rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from tiednmt.files import file_name, named_when_whole
from tiednmt.show.figures import Bars, Chart, HeatMap, Picture, Point, Series, written

SIGNS = "os^Dv"
MANY = 20  # points of a series, which are not marked one by one then


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
    for form in ("png", "svg"):
        with named_when_whole(path.with_name(f"{path.name}.{form}")) as partial:
            figure.savefig(partial, dpi=150, format=form)


def _noto() -> list[str]:
    names = {font.name for font in fontManager.ttflist}
    return sorted(name for name in names if name.startswith("Noto Sans"))


def _figure(picture: Picture) -> Figure:
    columns = min(picture.columns, len(picture.charts))
    rows = -(-len(picture.charts) // columns)
    sizes = [_size(chart) for chart in picture.charts]
    width, height = (max(size[i] for size in sizes) for i in (0, 1))
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, chart in zip(panels, picture.charts, strict=False):
        axes.set_title(_plain(chart.title))
        if isinstance(chart, Chart):
            _chart(figure, axes, chart)
        elif isinstance(chart, HeatMap):
            _heat_map(figure, axes, chart)
        else:
            _bars(axes, chart)
    for axes in panels[len(picture.charts) :]:
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
    shown: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    if len(shown) > 1:
        letters = 10 * figure.get_figwidth()  # that a line has room for
        columns = min(len(shown), int(letters / (8 + max(map(len, shown)))))
        figure.legend(
            shown.values(),
            shown.keys(),
            loc="outside lower center",
            ncols=max(1, columns),
            frameon=False,
        )


# --- charts ------------------------------------------------------------------------------------


def _chart(figure: Figure, axes: Axes, chart: Chart) -> None:
    colours = color_sequences[
        "tab10" if max((s.look for s in chart.series), default=0) < 10 else "tab20"
    ]
    for series in chart.series:
        _series(axes, series, colours[series.look % len(colours)], chart)
    for which in ("x", "y"):
        _scale(axes, which, chart)
    if _is_map(chart):
        axes.set(xticks=[], yticks=[])
        figure.draw_without_rendering()  # from here on points have a place on paper
        _label_points(axes, [point for series in chart.series for point in series.points])


def _series(axes: Axes, series: Series, colour: Any, chart: Chart) -> None:
    xs, ys = [point.x for point in series.points], [point.y for point in series.points]
    style: dict[str, Any] = {"color": colour, "label": _plain(series.name), "markersize": 5}
    style["marker"] = SIGNS[series.look % len(SIGNS)]
    if _is_map(chart):
        axes.plot(xs, ys, ".", color=colour, alpha=0.5)
    elif series.joined:
        if len(series.points) > MANY:
            style["marker"] = ""
        axes.plot(xs, ys, linestyle="--" if series.dashed else "-", **style)
    elif len(series.points) > MANY and not any(point.interval for point in series.points):
        axes.plot(xs, ys, **{**style, "marker": ".", "markersize": 3}, linestyle="none", alpha=0.5)
    else:
        along_x = bool(chart.y.names)
        style["xerr" if along_x else "yerr"] = _errors(series.points, along_x)
        axes.errorbar(xs, ys, linestyle="none", capsize=3, **style)


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


def _bars(axes: Axes, chart: Bars) -> None:
    longest = max(sum(piece.value for piece in pieces) for pieces in chart.bars.values())
    for at, pieces in enumerate(chart.bars.values()):
        left = 0
        for piece in pieces:
            colour = "C0" if piece.strong else "lightgrey"
            axes.barh(at, piece.value, left=left, color=colour, edgecolor="white")
            if piece.value > 0.08 * longest:
                middle = left + piece.value / 2
                axes.text(middle, at, _symbols(piece.label), ha="center", va="center")
            left += piece.value
    axes.set_yticks(range(len(chart.bars)), map(_plain, chart.bars))
    axes.invert_yaxis()
    axes.set_xlabel(chart.label)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter("{x:,.0f}")


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

"""Geometry of the page's pictures: where on a small canvas every mark, line and label lies.

Lengths are in units of the canvas, y downwards, as SVG wants them. The template draws them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10
from typing import ClassVar

from matplotlib.ticker import Locator, LogLocator, MaxNLocator

from tiednmt.seeds import Interval
from tiednmt.show.figures import Axis, Bars, Chart, HeatMap, Point, written

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 350, 26, 208  # edges of the plot on the canvas
DOT_LEFT, DOT_ROW = 6, 42  # edge of a dot plot, and how far its lines are apart
BAR_ROW = 46
ROOM = 0.08  # of the range, left free beyond the outermost marks
LETTER, LINE = 5.4, 10.0  # about the size of a letter


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Scale:
    """Values from ``low`` to ``high`` laid from ``start`` to ``end`` on the canvas."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Where ``value`` lies."""
        low, high, value = (self._linear(number) for number in (self.low, self.high, value))
        share = (value - low) / (high - low)
        return round(self.start + share * (self.end - self.start), 2)

    def _linear(self, number: float) -> float:
        return log10(number) if self.logarithmic else number

    @property
    def ticks(self) -> list[Tick]:
        """A few round values within the range."""
        if self.logarithmic:
            decades = log10(self.high / self.low)
            steps = (1, 1.5, 2, 3, 4, 5, 7) if decades < 1 else (1, 2, 5) if decades < 3 else (1,)
            locator: Locator = LogLocator(subs=steps)
        else:
            locator = MaxNLocator(5, steps=[1, 2, 5, 10])
        values = [v for v in locator.tick_values(self.low, self.high) if self.low <= v <= self.high]
        return [Tick(self(value), f"{value:,.10g}") for value in values]


def scale_of(axis: Axis, values: Sequence[float], start: float, end: float) -> Scale:
    """The scale of an axis on which ``values`` lie, with room beyond them."""
    low, high = min(values), max(values)
    if axis.low is not None:
        low, high = min(low, axis.low), max(high, axis.low)
    free_below = low != axis.low
    if axis.logarithmic:
        room = (high / low) ** ROOM if high > low else 2.0
        return Scale(low / room if free_below else low, high * room, start, end, logarithmic=True)
    room = ROOM * (high - low) or 1.0
    return Scale(low - room if free_below else low, high + room, start, end)


@dataclass(frozen=True)
class Mark:
    """A point; ``low`` and ``high`` are the ends of its error bar."""

    look: int
    x: float
    y: float
    label: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A curve."""

    look: int
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Plot:
    """A chart with two axes of numbers."""

    form: ClassVar = "plot"
    width: ClassVar = WIDTH
    height: ClassVar = HEIGHT

    chart: Chart
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    marks: Sequence[Mark]
    lines: Sequence[Line]


@dataclass(frozen=True)
class DotPlot:
    """A chart with a line per name, along which error bars lie; ``zero`` is where 0 lies."""

    form: ClassVar = "dots"
    width: ClassVar = WIDTH

    chart: Chart
    x_ticks: Sequence[Tick]
    zero: float
    rows: Sequence[Tick]
    marks: Sequence[Mark]

    @property
    def bottom(self) -> float:
        """Where the axis lies."""
        return self.rows[-1].at + DOT_ROW / 3

    @property
    def height(self) -> float:
        """The height of the canvas."""
        return self.bottom + 46


@dataclass(frozen=True)
class Map:
    """A chart without axes: dots, and the labels that there is room for."""

    form: ClassVar = "map"
    width: ClassVar = WIDTH
    height: ClassVar = WIDTH

    chart: Chart
    dots: Sequence[tuple[float, float]]
    labels: Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class Square:
    """A cell of a heat map; ``shade`` is 0 to 1, ``text`` what is written in it."""

    x: float
    y: float
    shade: float
    text: str
    label: str
    dotted: bool


@dataclass(frozen=True)
class Heat:
    """A heat map of squares ``side`` wide below the names of its columns."""

    form: ClassVar = "heat"

    chart: HeatMap
    side: float
    width: float
    height: float
    left: float
    top: float
    rows: Sequence[Tick]
    columns: Sequence[Tick]
    squares: Sequence[Square]


@dataclass(frozen=True)
class Stretch:
    """A piece of a bar; without ``words`` where it is too short for its label.

    ``words`` are letters and their subscripts.
    """

    x: float
    width: float
    strong: bool
    label: str
    words: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class BarPlot:
    """Bars below each other, each below its name."""

    form: ClassVar = "bars"
    width: ClassVar = WIDTH

    chart: Bars
    rows: Sequence[Tick]
    stretches: Sequence[Sequence[Stretch]]

    @property
    def height(self) -> float:
        """The height of the canvas."""
        return BAR_ROW * len(self.rows)


Drawing = Plot | DotPlot | Map | Heat | BarPlot


def laid_out(chart: Chart | HeatMap | Bars) -> Drawing:
    """``chart`` on a canvas."""
    if isinstance(chart, HeatMap):
        return _heat(chart)
    if isinstance(chart, Bars):
        return _bars(chart)
    if chart.y.names:
        return _dots(chart)
    return _plot(chart) if chart.x.label or chart.y.label else _map(chart)


def _points(chart: Chart) -> list[Point]:
    return [point for series in chart.series for point in series.points]


def _plot(chart: Chart) -> Plot:
    points = _points(chart)
    heights = [end for point in points for end in (point.y, *(point.interval or ()))]
    x = scale_of(chart.x, [point.x for point in points], LEFT, RIGHT)
    y = scale_of(chart.y, heights, BOTTOM, TOP)
    return Plot(
        chart,
        x.ticks,
        y.ticks,
        marks=[
            Mark(series.look, x(point.x), y(point.y), point.label, *_ends(y, point.interval))
            for series in chart.series
            for point in series.points
            if not series.joined
        ],
        lines=[
            Line(series.look, [(x(p.x), y(p.y)) for p in series.points])
            for series in chart.series
            if series.joined
        ],
    )


def _ends(scale: Scale, interval: Interval | None) -> Iterator[float]:
    return map(scale, interval or ())


def _dots(chart: Chart) -> DotPlot:
    points = _points(chart)
    values = [end for point in points for end in (point.x, *(point.interval or ()))]
    x = scale_of(chart.x, values, DOT_LEFT, RIGHT)
    rows = [Tick(DOT_ROW * i + 26.0, name) for i, name in enumerate(chart.y.names)]
    marks = [
        Mark(
            series.look,
            x(point.x),
            rows[int(point.y)].at,
            point.label,
            *_ends(x, point.interval),
        )
        for series in chart.series
        for point in series.points
    ]
    return DotPlot(chart, x.ticks, x(0), rows, sorted(marks, key=lambda mark: mark.y))


def _map(chart: Chart) -> Map:
    points = _points(chart)
    x = scale_of(chart.x, [point.x for point in points], 0, WIDTH)
    y = scale_of(chart.y, [point.y for point in points], WIDTH, 0)
    labels: list[tuple[float, float, str]] = []
    for point in points:
        at = x(point.x) + 3, y(point.y) - 2
        if point.label and not any(_overlap(at, point.label, other) for other in labels):
            labels.append((*at, point.label))
    return Map(chart, [(x(point.x), y(point.y)) for point in points], labels)


def _overlap(at: tuple[float, float], text: str, other: tuple[float, float, str]) -> bool:
    (left, foot), (other_left, other_foot, other_text) = at, other
    beside = left + LETTER * len(text) < other_left or other_left + LETTER * len(other_text) < left
    return not beside and abs(foot - other_foot) < LINE


def _heat(chart: HeatMap) -> Heat:
    left = 8 + LETTER * max(map(len, chart.rows))
    top = 8 + 0.7 * LETTER * max(map(len, chart.columns))
    side = max(18.0, min(34.0, (WIDTH - left - top) / len(chart.columns)))
    squares = []
    for i, (row, values) in enumerate(zip(chart.rows, chart.values, strict=True)):
        for j, (column, value) in enumerate(zip(chart.columns, values, strict=True)):
            known = written(value, 2 if chart.places is None else chart.places)
            share = 0.0 if value is None else (value - chart.low) / (chart.high - chart.low)
            squares.append(
                Square(
                    round(left + j * side, 2),
                    round(top + i * side, 2),
                    round(share, 3),
                    known if chart.places is not None else "",
                    f"{row}, {column}: {known}",
                    (i, j) in chart.dots,
                )
            )
    return Heat(
        chart,
        side,
        width=round(left + side * len(chart.columns) + top, 2),
        height=round(top + side * len(chart.rows) + 4, 2),
        left=left,
        top=top,
        rows=[Tick(round(top + (i + 0.5) * side, 2), row) for i, row in enumerate(chart.rows)],
        columns=[
            Tick(round(left + (j + 0.5) * side, 2), column)
            for j, column in enumerate(chart.columns)
        ],
        squares=squares,
    )


def _bars(chart: Bars) -> BarPlot:
    longest = max(sum(piece.value for piece in pieces) for pieces in chart.bars.values())
    rows, stretches = [], []
    for i, (name, pieces) in enumerate(chart.bars.items()):
        total = sum(piece.value for piece in pieces)
        rows.append(Tick(BAR_ROW * i, f"{name}, {total:,}"))
        x, bar = 0.0, []
        for piece in pieces:
            width = piece.value / longest * WIDTH
            words = [word.partition("_")[::2] for word in piece.label.split(" ")]
            fits = width > LETTER * len(piece.label)
            bar.append(
                Stretch(
                    round(x, 2),
                    round(width, 2),
                    piece.strong,
                    f"{piece.label}: {piece.value:,}",
                    words if fits else [],
                )
            )
            x += width
        stretches.append(bar)
    return BarPlot(chart, rows, stretches)

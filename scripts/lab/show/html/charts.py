"""Geometry of the page's pictures: where on a small canvas every mark, line and label lies.

Lengths are in units of the canvas, y downwards, as SVG wants them. The template draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10, sqrt

from matplotlib.ticker import Locator, LogLocator, MaxNLocator

from scripts.lab.records.figures import Measure, Score
from scripts.lab.records.schema import Validation
from scripts.lab.records.seeds import Interval
from scripts.lab.show.pictures import CurveAxes

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 350, 26, 208  # edges of the plot on the canvas
DOT_LEFT, DOT_ROW = 6, 42  # edge of a dot plot, and how far its lines are apart
ROOM = 0.08  # of the range, left free beyond the outermost marks


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


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Mark:
    """A point of row number ``row``; ``low`` and ``high`` are the ends of its error bar."""

    row: int
    x: float
    y: float
    label: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A curve of row number ``row``."""

    row: int
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A picture with two axes."""

    title: str
    description: str
    x_label: str
    y_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    marks: Sequence[Mark] = ()
    lines: Sequence[Line] = ()


def over_parameters(measure: Measure, parameters: Mapping[str, int]) -> Chart:
    """A mark a row: its score over its number of parameters (from 0), with its interval."""
    scores = measure.scores
    ends = [end for score in scores.values() for end in (score.value, *(score.interval or ()))]
    x = Scale(0, 1.08 * max(parameters.values()) / 1e6, LEFT, RIGHT)
    y = _with_room(min(ends), max(ends))
    marks = [
        Mark(
            row,
            x(parameters[name] / 1e6),
            y(score.value),
            _label(name, score, measure.places),
            *(map(y, score.interval) if score.interval else ()),
        )
        for row, (name, score) in enumerate(scores.items())
    ]
    return Chart(
        title=f"{measure.metric}, {measure.subset}",
        description=f"{measure.metric} on {measure.subset} over millions of parameters; "
        + "; ".join(mark.label for mark in marks),
        x_label="parameters (millions)",
        y_label=f"{measure.metric}, {measure.better} is better",
        x_ticks=x.ticks,
        y_ticks=y.ticks,
        marks=marks,
    )


def _label(name: str, score: Score, places: int) -> str:
    text = f"{name}: {score.value:.{places}f}"
    if score.interval is None:
        return text
    low, high = score.interval
    return f"{text} ({low:.{places}f} to {high:.{places}f})"


def learning_curves(curves: Mapping[str, Sequence[Sequence[Validation]]], axes: CurveAxes) -> Chart:
    """A line a run, each row in its colour."""
    lines = [
        (row, [(float(getattr(point, axes.x)), axes.y(point)) for point in points])
        for row, seeds in enumerate(curves.values())
        for points in seeds
    ]
    xs, ys = zip(*(point for _, points in lines for point in points), strict=True)
    x = Scale(0, max(xs), LEFT, RIGHT - 6)
    if axes.logarithmic:
        y = Scale(min(ys) / 1.05, max(ys) * 1.05, BOTTOM, TOP, logarithmic=True)
    else:
        y = _with_room(min(ys), max(ys))
    ends = "; ".join(f"{name} ends at {axes.y(seeds[0][-1]):.2f}" for name, seeds in curves.items())
    return Chart(
        title="Learning curves",
        description=f"{axes.y_label} over {axes.x}s; {ends}",
        x_label=f"{axes.x}s",
        y_label=axes.y_label,
        x_ticks=x.ticks,
        y_ticks=y.ticks,
        lines=[Line(row, [(x(a), y(b)) for a, b in points]) for row, points in lines],
    )


def by_frequency(
    bands: Sequence[tuple[int, int]],
    figures: Mapping[str, Sequence[float | None]],
    y_label: str,
) -> Chart:
    """A line an embedding over the (geometric) middle of each band of frequency ranks."""
    lines = [
        [(sqrt(a * b), y) for (a, b), y in zip(bands, ys, strict=True) if y is not None]
        for ys in figures.values()
    ]
    heights = [height for line in lines for _, height in line]
    x = Scale(1, max(last for _, last in bands) + 1, LEFT, RIGHT, logarithmic=True)
    y = _with_room(min(heights), max(heights))
    return Chart(
        title=f"{y_label[:1].upper()}{y_label[1:]}, by word frequency",
        description=f"{y_label} over the frequency rank of its word; the figures are in the table",
        x_label="frequency rank (1: the most frequent word)",
        y_label=y_label,
        x_ticks=x.ticks,
        y_ticks=y.ticks,
        lines=[Line(i, [(x(a), y(b)) for a, b in line]) for i, line in enumerate(lines)],
    )


@dataclass(frozen=True)
class DotRow:
    """A line of a :class:`DotPlot` at ``y`` with its marks, whose error bars lie along it."""

    label: str
    y: float
    marks: Sequence[Mark]


@dataclass(frozen=True)
class DotPlot:
    """A picture with a line a set and a mark an embedding; ``zero`` is where ρ = 0 lies."""

    title: str
    description: str
    x_label: str
    x_ticks: Sequence[Tick]
    zero: float
    rows: Sequence[DotRow]

    @property
    def height(self) -> float:
        """Of the canvas."""
        return self.bottom + 46

    @property
    def bottom(self) -> float:
        """Where the axis lies."""
        return self.rows[-1].y + DOT_ROW / 3


def by_set(
    figures: Mapping[str, Mapping[str, tuple[float, Interval | None]]], names: Sequence[str]
) -> DotPlot | None:
    """ρ of word similarity, a line a set (by its label); None where nothing is known.

    Args:
        figures: by label and embedding the value and its interval, of those that are known.
        names: of all embeddings, in the order of their signs.
    """
    scores = [score for found in figures.values() for score in found.values()]
    values = [end for value, interval in scores for end in (value, *(interval or ()))]
    if not values:
        return None
    low, high = min(0.0, *values), max(0.0, *values)
    room = ROOM * (high - low) or 1.0
    x = Scale(low - room * (low < 0), high + room, DOT_LEFT, RIGHT)
    rows = []
    for i, (label, found) in enumerate(figures.items()):
        y = DOT_ROW * i + 26.0
        marks = [
            Mark(
                names.index(name),
                x(value),
                y,
                _label(name, Score(value, interval=interval), places=3),
                *(map(x, interval) if interval else ()),
            )
            for name, (value, interval) in found.items()
        ]
        rows.append(DotRow(label, y, marks))
    return DotPlot(
        title="Word similarity",
        description="; ".join(
            f"{row.label}: {', '.join(mark.label for mark in row.marks) or 'none'}" for row in rows
        ),
        x_label="Spearman’s ρ with human scores",
        x_ticks=x.ticks,
        zero=x(0),
        rows=rows,
    )


def _with_room(low: float, high: float) -> Scale:
    room = ROOM * (high - low) or 1.0
    return Scale(low - room, high + room, BOTTOM, TOP)

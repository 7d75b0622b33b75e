"""Tables and charts of a record, as plain data.

Rendered by :mod:`tiednmt.show.markdown`, :mod:`tiednmt.show.pictures` and ``scripts.lab.show``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tiednmt.seeds import Interval


def perplexity(nll: float) -> float:
    """e to the NLL (nats per token); infinity on overflow."""
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is more than a text.

    Attributes:
        text: what it says.
        below: a detail for renderers with room for it: an interval, a number of pairs.
        strong: whether it is emphasised.
        span: how many columns it covers.
    """

    text: str
    below: str = ""
    strong: bool = False
    span: int = 1


@dataclass(frozen=True)
class Table:
    """A table; its first ``left`` columns hold text, flush left, and the others hold figures."""

    head: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    left: int = 1
    caption: str = ""


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    """A command line, word for word."""

    text: str
    caption: str = ""


class Point(NamedTuple):
    """A point of a chart, the interval of its value, and a label that says both in words."""

    x: float
    y: float
    label: str = ""
    interval: Interval | None = None


@dataclass(frozen=True)
class Series:
    """Points that look alike; series with the same name and ``look`` (0, 1, …) share a legend."""

    name: str
    look: int
    points: Sequence[Point]
    joined: bool = True  # by a line
    dashed: bool = False  # for renderers that do not use dashes to tell series apart


@dataclass(frozen=True)
class Axis:
    """An axis of numbers that includes ``low``, if given, or of ``names`` at 0, 1 and so on."""

    label: str = ""
    logarithmic: bool = False
    low: float | None = None
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """Series between two axes.

    Values lie along y, or along x if y has names. Without labels on the axes, the chart is a map:
    its points have their labels next to them, as far as there is room.
    """

    title: str
    description: str
    x: Axis
    y: Axis
    series: Sequence[Series]


@dataclass(frozen=True)
class HeatMap:
    """A matrix of values, drawn in shades from ``low`` to ``high``; None is an unknown value.

    ``places`` is the number of decimals in the cells; None writes none. ``dots`` marks cells
    (row, column).
    """

    title: str
    description: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    label: str
    low: float = 0.0
    high: float = 1.0
    places: int | None = None
    dots: Sequence[tuple[int, int]] = ()


def written(value: float | None, places: int) -> str:
    """A value in a cell of a heat map; never −0.00."""
    return "–" if value is None else f"{round(value, places) + 0.0:.{places}f}".replace("-", "−")


class Piece(NamedTuple):
    """A piece of a bar; a ``_`` in its label begins a subscript."""

    label: str
    value: int
    strong: bool


@dataclass(frozen=True)
class Bars:
    """Bars by name, each of pieces laid end to end."""

    title: str
    description: str
    label: str
    bars: Mapping[str, Sequence[Piece]]


@dataclass(frozen=True)
class Picture:
    """Charts in ``columns``, for the files ``name.png`` and ``name.svg``, with a note below."""

    name: str
    charts: Sequence[Chart | HeatMap | Bars]
    title: str = ""
    note: str = ""
    columns: int = 2


Block = Table | Bullets | Code | Picture | str  # a str is a paragraph


@dataclass(frozen=True)
class Part:
    """Blocks under a title; ``folded`` if only some readers want them."""

    title: str
    blocks: Sequence[Block]
    folded: bool = False


@dataclass(frozen=True)
class Finding:
    """What a record says first: a big word or figure, and ``text`` about it."""

    title: str
    big: str
    text: str = ""
    details: Sequence[tuple[str, Cell]] = ()  # name and value


@dataclass(frozen=True)
class Figures:
    """The text, tables and charts of a record. Text between backticks is code.

    Attributes:
        title: of the record.
        summary: what a page of many records shows.
        parts: what follows on a page of its own.
        names: of the series, in the order of their looks.
        lead: the first sentence.
        findings: what the record says first.
        samples: sentences, each with source, reference and the translation of each row.
    """

    title: str
    summary: Sequence[Block] = ()
    parts: Sequence[Part] = ()
    names: Sequence[str] = ()
    lead: str = ""
    findings: Sequence[Finding] = ()
    samples: Sequence[Mapping[str, str]] = ()

    @property
    def blocks(self) -> list[Block]:
        """All blocks, in order."""
        return [*self.summary, *(block for part in self.parts for block in part.blocks)]

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, in order."""
        return [block for block in self.blocks if isinstance(block, Picture)]

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
    """e to the NLL (nats per token); infinity where that is beyond the numbers of a computer."""
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


@dataclass(frozen=True)
class Cell:
    """A table's cell that is more than a text.

    ``below`` is told where there is room: an interval, a number of pairs. ``span`` is how many
    columns are this one thing.
    """

    text: str
    below: str = ""
    strong: bool = False
    span: int = 1


@dataclass(frozen=True)
class Table:
    """A table; its first ``left`` columns hold text and are flush left, the others figures."""

    head: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    left: int = 1
    caption: str = ""


@dataclass(frozen=True)
class Bullets:
    """Sentences, an item of a list each."""

    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    """A command line, word for word."""

    text: str
    caption: str = ""


class Point(NamedTuple):
    """A point of a chart; ``interval`` is that of its value, ``label`` says it in words."""

    x: float
    y: float
    label: str = ""
    interval: Interval | None = None


@dataclass(frozen=True)
class Series:
    """Points that look alike; series of one name and ``look`` (0, 1, …) share a line in legends."""

    name: str
    look: int
    points: Sequence[Point]
    joined: bool = True  # by a line
    dashed: bool = False  # where lines are not told apart by dashes anyway


@dataclass(frozen=True)
class Axis:
    """An axis of numbers, or of ``names`` that stand at 0, 1, …; it takes in ``low`` if given."""

    label: str = ""
    logarithmic: bool = False
    low: float | None = None
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """Series between two axes.

    Values lie along y, or along x where y has names. Without labels of axes the picture is a map,
    whose points have their label beside them, as far as there is room.
    """

    title: str
    description: str
    x: Axis
    y: Axis
    series: Sequence[Series]


@dataclass(frozen=True)
class HeatMap:
    """A value (None: not known) a row and column, from ``low`` to ``high`` in shades.

    ``places`` are the decimals written into the cells, if any; ``dots`` marks cells (row, column).
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
    """A piece of a bar; a ``_`` in its label sets off a subscript."""

    label: str
    value: int
    strong: bool


@dataclass(frozen=True)
class Bars:
    """A bar by name, laid end to end of pieces."""

    title: str
    description: str
    label: str
    bars: Mapping[str, Sequence[Piece]]


@dataclass(frozen=True)
class Picture:
    """Charts in ``columns``, in the files ``name.png`` and ``name.svg``; ``note`` stands below."""

    name: str
    charts: Sequence[Chart | HeatMap | Bars]
    title: str = ""
    note: str = ""
    columns: int = 2


Block = Table | Bullets | Code | Picture | str  # a str is a paragraph


@dataclass(frozen=True)
class Part:
    """Blocks under a title; ``folded`` where only some readers want them."""

    title: str
    blocks: Sequence[Block]
    folded: bool = False


@dataclass(frozen=True)
class Finding:
    """What a record says first: ``big`` in a word or figure, ``text`` what it is of."""

    title: str
    big: str
    text: str = ""
    details: Sequence[tuple[str, Cell]] = ()  # each with its name


@dataclass(frozen=True)
class Figures:
    """All that is shown of a record.

    ``names`` are those of the series in the order of their looks. ``summary`` is what stands on a
    page of many records; the ``parts`` follow it where the record has a page of its own. Text
    between backticks is code. ``samples`` are sentences: source, reference and what each row made.
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
        """All blocks, in their order."""
        return [*self.summary, *(block for part in self.parts for block in part.blocks)]

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, in their order."""
        return [block for block in self.blocks if isinstance(block, Picture)]

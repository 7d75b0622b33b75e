"""What records show, as plain data: scores of rows, tables and charts. Renderers are in show/."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from scripts.lab.records.seeds import Interval

if TYPE_CHECKING:
    from scripts.lab.show.pictures import CurveAxes


def perplexity(nll: float) -> float:
    """e to the NLL (nats a token); infinity where that is beyond the numbers of a computer."""
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


@dataclass(frozen=True)
class Score:
    """A row's figure.

    ``value`` is the mean over the row's seeds and ``sd`` their standard deviation. ``interval``
    holds the true value with a confidence of 95 %; ``difference`` is to the baseline, ``p_value``
    how likely chance alone makes one as large. None is what is not known.
    """

    value: float
    sd: float | None = None
    interval: Interval | None = None
    difference: float | None = None
    p_value: float | None = None
    paper: float | None = None

    @property
    def significant(self) -> bool:
        """Whether chance is an unlikely reason (below 5 %) for the difference."""
        return self.p_value is not None and self.p_value < 0.05


@dataclass(frozen=True)
class Measure:
    """One metric on one test set, for every row."""

    metric: str
    subset: str
    scores: Mapping[str, Score]  # by row
    places: int  # decimals that mean something
    drawn: bool  # over the number of parameters
    headline: bool  # named where there is room for little
    better: str = "higher"
    signature: str = ""  # sacreBLEU's


class Measured(Protocol):
    """What tells the figures of a task's records."""

    curve_axes: ClassVar[CurveAxes]  # how learning curves are drawn

    @staticmethod
    def conditions(record: Mapping[str, Any]) -> str:
        """What must be known to read the figures, in sentences."""

    @staticmethod
    def measures(record: Mapping[str, Any]) -> Sequence[Measure]:
        """The figures of the record's rows."""


# --- what is shown, as data -------------------------------------------------------------------


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
    dashed: bool = False


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

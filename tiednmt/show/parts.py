"""Tables and charts that several kinds of records have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import Protocol, TypeVar

from tiednmt.seeds import Interval
from tiednmt.show.figures import (
    Axis,
    Bars,
    Block,
    Bullets,
    Cell,
    Chart,
    HeatMap,
    Picture,
    Piece,
    Point,
    Series,
    Table,
)
from tiednmt.tying import SYMBOLS, TieMap

MEGABYTE = 1_000_000


def p_text(p_value: float) -> str:
    """To three decimals."""
    return f"{p_value:.3f}" if p_value >= 0.0005 else "<0.001"


def rho(value: float | None) -> str:
    """A correlation as tables show it."""
    return "–" if value is None else f"{value:.3f}"


def label(name: str, value: float, interval: Interval | None, places: int) -> str:
    """A figure of a chart in words: ``none: 36.70 (35.80 to 37.60)``."""
    text = f"{name}: {value:.{places}f}"
    if interval is None:
        return text
    low, high = interval
    return f"{text} ({low:.{places}f} to {high:.{places}f})"


# --- word similarity, and embeddings beside each other -----------------------------------------


def dots_by_set(
    figures: Mapping[str, Mapping[str, tuple[float, Interval | None]]], names: Sequence[str]
) -> Chart:
    """ρ of word similarity: a line per set, with a mark per embedding.

    Args:
        figures: for each set, by label, the known values and intervals by embedding.
        names: the embeddings, in the order of their looks.
    """
    series = [
        Series(
            name,
            look,
            [
                Point(*(value, i), label(name, value, interval, places=3), interval)
                for i, of_set in enumerate(figures.values())
                if name in of_set
                for value, interval in [of_set[name]]
            ],
            joined=False,
        )
        for look, name in enumerate(names)
    ]
    series = [one for one in series if one.points]
    lines = (
        f"{set_label}: " + (", ".join(label(n, *of, places=3) for n, of in rhos.items()) or "none")
        for set_label, rhos in figures.items()
    )
    return Chart(
        title="Word similarity",
        description="; ".join(lines),
        x=Axis("Spearman's ρ with human scores", low=0.0),
        y=Axis(names=list(figures)),
        series=series,
    )


def likeness_map(by_names: Mapping[tuple[str, str], float | None]) -> HeatMap:
    """ρ of every two embeddings, by their names, as a square."""
    names = list(dict.fromkeys(name for two in by_names for name in two))
    by = {frozenset(two): rho for two, rho in by_names.items()}
    values = [
        [1.0 if one == other else by.get(frozenset((one, other))) for other in names]
        for one in names
    ]
    return HeatMap(
        title="Likeness of embeddings (ρ of cosines)",
        description="Spearman's ρ of the cosines of every two embeddings; the figures are in the "
        "table",
        rows=names,
        columns=names,
        values=values,
        label="ρ",
        low=min([0.0, *(value for row in values for value in row if value is not None)]),
        places=2,
    )


# --- by frequency ------------------------------------------------------------------------------


class Band(Protocol):
    """Figures of a band of words by frequency."""

    @property
    def ranks(self) -> tuple[int, int]:
        """The first and last rank; the most frequent word has rank 1."""


B = TypeVar("B", bound=Band)


def by_band(bands: Mapping[str, Sequence[Band]], figure: str, form: str, caption: str) -> Table:
    """A figure by name and band; a dash if a name lacks the band."""
    every = sorted({band.ranks for of_name in bands.values() for band in of_name})
    rows = []
    for name, of_name in bands.items():
        values = {band.ranks: format(getattr(band, figure), form) for band in of_name}
        rows.append([name, *(values.get(ranks, "–") for ranks in every)])
    head = ["embedding", *(f"{first:,}–{last:,}" for first, last in every)]
    return Table(head, rows, caption=f"{caption}, by frequency rank of the word")


def over_frequency(
    bands: Mapping[str, Sequence[B]],
    value: Callable[[B], float],
    title: str,
    y: Axis,
    looks: Sequence[str],
) -> Chart:
    """A line per name, with a point per band: ``value`` over the geometric mean of its ranks.

    A logarithmic ``y`` leaves out bands whose value is zero.
    """
    series = [
        Series(name, looks.index(name), points)
        for name, of_name in bands.items()
        if (
            points := [
                Point(sqrt(band.ranks[0] * band.ranks[1]), value(band))
                for band in of_name
                if value(band) > 0 or not y.logarithmic
            ]
        )
    ]
    return Chart(
        title=title,
        description=f"{y.label} over the frequency rank of its word; the figures are in the table",
        x=Axis("frequency rank (1: the most frequent word)", logarithmic=True, low=1),
        y=y,
        series=series,
    )


# --- over a training ----------------------------------------------------------------------------


Run = Sequence[tuple[float, float]]  # points of a training


def over_training(
    title: str, runs: Mapping[str, Sequence[Run]], y: Axis, x: str, looks: Sequence[str]
) -> Chart:
    """A line per run; runs of the same name look the same.

    Args:
        title: of the chart.
        runs: by name, one per seed; those without points are left out.
        y: the axis of the values.
        x: ``update`` or ``epoch``.
        looks: names in the order of their looks.
    """
    series = [
        Series(name, looks.index(name), [Point(*point) for point in run])
        for name, of_name in runs.items()
        for run in of_name
        if run
    ]
    ends = "; ".join(f"{one.name} ends at {one.points[-1].y:.2f}" for one in series)
    return Chart(
        title=title,
        description=f"{y.label} over {x}s; {ends}",
        x=Axis(f"{x}s", low=0),
        y=y,
        series=series,
    )


def curve_table(chart: Chart) -> Table:
    """The figures of :func:`over_training`, with a column per run."""
    runs = [{point.x: point.y for point in series.points} for series in chart.series]
    names = [series.name for series in chart.series]
    seeds = [names[: i + 1].count(name) for i, name in enumerate(names)]
    head = [n if seed == 1 else f"{n}, seed {seed}" for n, seed in zip(names, seeds, strict=True)]
    rows = [
        [f"{x:,}", *(f"{run[x]:.2f}" if x in run else "–" for run in runs)]
        for x in sorted({x for run in runs for x in run})
    ]
    return Table([chart.x.label, *head], rows, caption=f"{chart.y.label}, by {chart.x.label}")


# --- which matrices are one --------------------------------------------------------------------


def tie_blocks(ties: Mapping[str, TieMap], bytes_per_parameter: Mapping[str, int]) -> list[Block]:
    """The tie maps of models as a table, as bars and by their signatures.

    Args:
        ties: by model.
        bytes_per_parameter: the size of a stored number of the embeddings, by model, if known.
    """
    return [
        tie_table(ties, bytes_per_parameter),
        Picture("parameters", [tie_bars(ties)]),
        Bullets([f"{model}: `{tie.signature}`" for model, tie in ties.items()]),
    ]


def tie_table(ties: Mapping[str, TieMap], bytes_per_parameter: Mapping[str, int]) -> Table:
    """A row per model and a column per matrix; a tied matrix is a cell over several columns."""
    columns = _names_in(ties.values())
    rows: list[list[str | Cell]] = []
    for model, tie in ties.items():
        stored = bytes_per_parameter.get(model)
        rows.append(
            [
                model,
                *_cells(tie, columns),
                Cell(
                    f"{tie.total:,}",
                    f"{tie.total * stored / MEGABYTE:.1f} MB stored" if stored else "",
                ),
                f"{tie.untied_total:,}",
            ]
        )
    head = ["model", *columns, "total", "without tying"]
    return Table(head, rows, caption="Parameters by matrix; a cell over several columns is one")


def tie_bars(ties: Mapping[str, TieMap]) -> Bars:
    """A bar per model, as long as it has parameters."""
    return Bars(
        title="Parameters by matrix",
        description="Parameters of each model; the figures are in the table",
        label="parameters",
        bars={
            model: [
                *(
                    Piece(" = ".join(SYMBOLS.get(n, n) for n in names), vocab_size * dim, True)
                    for names, (vocab_size, dim) in tie.groups
                ),
                *(Piece(name, count, False) for name, count in tie.others.items() if count),
            ]
            for model, tie in ties.items()
        },
    )


def _names_in(ties: Iterable[TieMap]) -> list[str]:
    """All names in the tie maps, embeddings first, without those that have no parameters."""
    maps = list(ties)
    embeddings = (name for tie in maps for names, _ in tie.groups for name in names)
    others = (name for tie in maps for name, count in tie.others.items() if count)
    return list(dict.fromkeys((*embeddings, *others)))


def _cells(tie: TieMap, columns: Sequence[str]) -> list[Cell]:
    """The parameters of a model in the order of ``columns``; tied neighbours share a cell."""
    owners: list[tuple[str, ...]] = []
    texts: dict[tuple[str, ...], tuple[str, str]] = {(): ("–", "")}
    for names, (vocab_size, dim) in tie.groups:
        texts[names] = (f"{vocab_size * dim:,}", f"{vocab_size:,} × {dim:,}")
    for name, count in tie.others.items():
        texts[(name,)] = (f"{count:,}", "")
    owner_of = {name: names for names in texts for name in names}
    cells: list[Cell] = []
    for column in columns:
        owner = owner_of.get(column, ())
        if owner and owners and owners[-1] == owner:
            cells[-1] = replace(cells[-1], span=cells[-1].span + 1)
        else:
            cells.append(Cell(*texts[owner]))
        owners.append(owner)
    return cells

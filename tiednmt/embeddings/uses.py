"""Tables and charts of the uses of the embeddings: their shares of the gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiednmt.embeddings.gradients import Curve, GradientShares, Ranks, mean_shares
from tiednmt.frequency import NEITHER
from tiednmt.seeds import mean_and_sd, over_seeds
from tiednmt.show.figures import Axis, Cell, Picture, Table
from tiednmt.show.parts import over_frequency, over_training

COLUMNS = 6  # how many updates a table shows, spread over the training
SHARE = Axis("% of the sum of the norms", low=0.0)
COSINE = Axis("cosine of two gradients")
NOTE = (
    "The gradient of an embedding matrix is the sum of what its uses add to it. The share of a use "
    "is its norm over the sum of all uses' norms; matrices that are not tied have one use each."
)

Measured = Mapping[str, Sequence[GradientShares]]  # by row or model, one per seed
Values = Mapping[Any, Mapping[str, float]]  # by column of a table, then by use or pair of uses


# --- of one model ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _BandShare:
    ranks: Ranks
    percent: float


def of_model(name: str, shares: GradientShares) -> Picture:
    """Shares and cosines over the training, and the shares by frequency; a line per use."""
    by_use = {short(use): [points(shares, of, SHARE)] for use, of in shares.shares.items()}
    pairs = {short(two): [points(shares, of, COSINE)] for two, of in shares.cosines.items()}
    by_band = {
        short(use): [
            _BandShare(ranks, 100 * of_band[use]) for ranks, of_band in _by_band(shares).items()
        ]
        for use in shares.uses
    }
    charts = [
        over_training(f"{name}: shares of the gradient", by_use, SHARE, "update", [*by_use]),
        over_training(f"{name}: cosines", pairs, COSINE, "update", [*pairs]),
        over_frequency(
            by_band, lambda band: band.percent, f"{name}: by frequency", SHARE, [*by_use]
        ),
    ]
    return Picture(
        f"gradient-shares-{name}",
        [chart for chart in charts if chart.series],
        f"{name}: {len(shares.updates):,} updates measured",
    )


# --- tables ------------------------------------------------------------------------------------


def tables(measured: Measured) -> list[Table]:
    """Shares over the training, and on average in the rows of one side or of both."""
    over = _table(
        measured,
        _over_updates(lambda run: run.shares),
        "% of the gradient, at update",
        "Share of each use in the gradient, over the training",
        percent=True,
    )
    counts = [run.rows for runs in measured.values() for run in runs if run.rows]
    rows = counts[0] if counts and all(of_run == counts[0] for of_run in counts) else {}
    sides = _table(
        measured,
        _by_side,
        "% of the gradient of",
        "Share of each use in the gradient of the rows of one side's units, or both sides'",
        percent=True,
        label=lambda side: f"{side} ({rows[side]:,} rows)" if side in rows else side,
    )
    return [table for table in (over, sides) if table.rows]


def further_tables(measured: Measured) -> list[Table]:
    """Shares by frequency, and the cosines over the training."""
    bands = _table(
        measured,
        _by_band,
        "% of the gradient, ranks",
        "Share of each use in the gradient, by frequency rank of the word",
        percent=True,
        label=lambda ranks: "{:,}–{:,}".format(*ranks),
    )
    cosines = _table(
        measured,
        _over_updates(lambda run: run.cosines),
        "cosine, at update",
        "Cosine of the gradients of two uses, over the training",
    )
    return [table for table in (bands, cosines) if table.rows]


def _over_updates(
    curves: Callable[[GradientShares], Mapping[str, Curve]],
) -> Callable[[GradientShares], Values]:
    """The values of curves at a few updates, including the first and the last."""

    def values(run: GradientShares) -> Values:
        last = len(run.updates) - 1
        steps = min(COLUMNS - 1, last) or 1
        some = dict.fromkeys(round(step * last / steps) for step in range(steps + 1))
        return {
            run.updates[i]: {name: curve[i] for name, curve in curves(run).items()} for i in some
        }

    return values


def _by_side(run: GradientShares) -> Values:
    sided = {use: gradients.sides for use, gradients in run.uses.items() if gradients.sides}
    return {
        side: mean_shares({use: sides[side] for use, sides in sided.items()})
        for side in run.rows or ()
        if side != NEITHER  # special symbols and padding
    }


def _by_band(run: GradientShares) -> dict[Ranks, Mapping[str, float]]:
    """Mean shares in the bands that all uses have; separate dictionaries end at different ranks."""
    norms = {use: {b.ranks: b.norms for b in of.bands} for use, of in run.uses.items()}
    first, *others = norms.values()
    common = [ranks for ranks in first if all(ranks in bands for bands in others)]
    return {
        ranks: mean_shares({use: bands[ranks] for use, bands in norms.items()}) for ranks in common
    }


def _table(
    measured: Measured,
    values: Callable[[GradientShares], Values],
    what: str,
    caption: str,
    *,
    percent: bool = False,
    label: Callable[[Any], str] = "{:,}".format,
) -> Table:
    """A row per model and use (or pair of uses), with mean and deviation over several seeds."""
    values_of = {name: [values(run) for run in runs] for name, runs in measured.items()}
    every = [of_run for runs in values_of.values() for of_run in runs]
    columns = dict.fromkeys(column for of_run in every for column in of_run)
    rows: list[list[str | Cell]] = []
    for name, runs in values_of.items():
        for use in dict.fromkeys(use for of_run in runs for of in of_run.values() for use in of):
            at = [
                [of_run[column][use] for of_run in runs if use in of_run.get(column, ())]
                for column in columns
            ]
            rows.append([name, short(use), *(_figure(of_seeds, percent) for of_seeds in at)])
    return Table([what, "use", *map(label, columns)], rows, left=2, caption=caption)


def _figure(of_seeds: Sequence[float], percent: bool) -> str:
    if not of_seeds:
        return "–"
    factor, places = (100, 0) if percent else (1, 3)
    return mean_and_sd(over_seeds([factor * value for value in of_seeds]), places)


def points(run: GradientShares, curve: Curve, y: Axis) -> list[tuple[float, float]]:
    """The points (update, value) of a curve; shares in per cent."""
    factor = 100 if y is SHARE else 1
    return [(update, factor * v) for update, v in zip(run.updates, curve, strict=True)]


def short(uses: str) -> str:
    """``source input`` for ``source input embedding``, and ``A and B`` for a pair of uses."""
    return uses.replace(" embedding", "").replace(", ", " and ")

"""The measurements of ``--measure-gradients`` in the folder of a training, as records hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tiednmt.criterions.gradient_shares import read_gradient_shares
from tiednmt.typed import Fault

DIGITS = 4  # decimals that are kept

Ranks = tuple[int, int]  # the first and last frequency rank of a band of words
Curve = Sequence[float]  # a value per measured update


@dataclass(frozen=True, kw_only=True)
class BandNorms:
    """Norms over the rows of a band of frequency ranks."""

    ranks: Ranks
    norms: Curve


@dataclass(frozen=True, kw_only=True)
class UseGradients:
    """Norms of what a use adds to the gradient: over all rows, those of each band, of each side.

    Only if source and target share a matrix, there are ``sides``: in whose training text the unit
    of a row occurs (:data:`tiednmt.frequency.SIDES`).
    """

    norms: Curve
    bands: Sequence[BandNorms]
    sides: Mapping[str, Curve] | None = None

    @property
    def curves(self) -> list[Curve]:
        """Over all rows, then by band, then by side."""
        return [self.norms, *(band.norms for band in self.bands), *(self.sides or {}).values()]


@dataclass(frozen=True, kw_only=True)
class GradientShares:
    """The gradients of a training, split by the uses of the matrices.

    Attributes:
        updates: for each measured update, how many were made before it.
        uses: norms by use.
        cosines: by pair of uses.
        rows: how many rows each side has, if source and target share a matrix.
    """

    updates: Sequence[int]
    uses: Mapping[str, UseGradients]
    cosines: Mapping[str, Curve]
    rows: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        curves = [curve for use in self.uses.values() for curve in use.curves]
        if not self.updates or any(
            len(curve) != len(self.updates) for curve in (*curves, *self.cosines.values())
        ):
            raise Fault("does not have one value per measured update")

    @property
    def shares(self) -> dict[str, list[float]]:
        """The norm of each use as a share of the sum of all uses' norms."""
        return shares_of({use: gradients.norms for use, gradients in self.uses.items()})


def shares_of(curves: Mapping[str, Curve]) -> dict[str, list[float]]:
    """Each curve as a share of the sum of all curves, point by point."""
    sums = [sum(values) or 1.0 for values in zip(*curves.values(), strict=True)]
    return {
        name: [value / total for value, total in zip(curve, sums, strict=True)]
        for name, curve in curves.items()
    }


def mean_shares(curves: Mapping[str, Curve]) -> dict[str, float]:
    """The mean over the points of each curve of :func:`shares_of`."""
    return {name: fmean(shares) for name, shares in shares_of(curves).items()}


def gradient_shares_in(folder: Path) -> GradientShares | None:
    """The measurements of the training in ``folder``; None if nothing was measured.

    Raises:
        UserError: the file is damaged.
    """
    records = read_gradient_shares(folder)
    if not records:
        return None
    last = records[-1]
    return GradientShares(
        updates=[record["update"] for record in records],
        uses={use: _use([record["uses"][use] for record in records]) for use in last["uses"]},
        cosines={
            pair: [round(record["cosines"][pair], DIGITS) for record in records]
            for pair in last["cosines"]
        },
        rows=last.get("rows"),
    )


def _use(measured: Sequence[Mapping[str, Any]]) -> UseGradients:
    bands = zip(*(one["bands"] for one in measured), strict=True)
    sides = measured[-1].get("sides", {}).keys()
    has_sides = sides and all(one.get("sides", {}).keys() == sides for one in measured)
    return UseGradients(
        norms=[_short(one["norm"]) for one in measured],
        bands=[
            BandNorms(
                ranks=(band[0]["ranks"][0], band[0]["ranks"][1]),
                norms=[_short(one["norm"]) for one in band],
            )
            for band in bands
        ],
        sides={side: [_short(one["sides"][side]) for one in measured] for side in sides}
        if has_sides
        else None,
    )


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")

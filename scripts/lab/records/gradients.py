"""What ``--measure-gradients`` found over a training, in records of experiments and analyses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scripts.lab.records.typed import Fault

Ranks = tuple[int, int]  # the first and last of a band of words, by frequency
Curve = Sequence[float]  # a value per measured update


@dataclass(frozen=True, kw_only=True)
class BandNorms:
    """Norms over the rows of a band of frequency ranks."""

    ranks: Ranks
    norms: Curve


@dataclass(frozen=True, kw_only=True)
class UseGradients:
    """Norms of what a use adds to the gradient: over all rows, a band's, or those of one side.

    ``sides`` is by whose text has the unit of a row, where source and target share a matrix.
    """

    norms: Curve
    bands: Sequence[BandNorms]
    sides: Mapping[str, Curve] | None = None

    @property
    def curves(self) -> list[Curve]:
        """All of them."""
        return [self.norms, *(band.norms for band in self.bands), *(self.sides or {}).values()]


@dataclass(frozen=True, kw_only=True)
class GradientShares:
    """A training's gradients by use of the matrices.

    ``updates`` were made before each measured one. ``cosines`` are by pair of uses, ``rows`` says
    how many the units of each side are.
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
            raise Fault("has not one value per measured update")

    @property
    def shares(self) -> dict[str, list[float]]:
        """Of each use, its norm's share of the sum of all uses' norms."""
        return shares_of({use: gradients.norms for use, gradients in self.uses.items()})


def shares_of(curves: Mapping[str, Curve]) -> dict[str, list[float]]:
    """What share of the sum of all curves each of them has, point by point."""
    sums = [sum(values) or 1.0 for values in zip(*curves.values(), strict=True)]
    return {
        name: [value / total for value, total in zip(curve, sums, strict=True)]
        for name, curve in curves.items()
    }


def mean_shares(curves: Mapping[str, Curve]) -> dict[str, float]:
    """The means of :func:`shares_of`."""
    return {name: fmean(shares) for name, shares in shares_of(curves).items()}

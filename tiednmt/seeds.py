"""Figures of several runs that differ in nothing but the seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Interval = tuple[float, float]


@dataclass(frozen=True)
class SeedStatistics:
    """Mean and sample standard deviation (None of one seed) of a figure."""

    mean: float
    sd: float | None
    seeds: int


def over_seeds(values: Sequence[float]) -> SeedStatistics:
    """Statistics of one value per seed, to four decimals."""
    return SeedStatistics(
        mean=round(statistics.fmean(values), 4),
        sd=round(statistics.stdev(values), 4) if len(values) > 1 else None,
        seeds=len(values),
    )


def pooled(one: SeedStatistics, other: SeedStatistics) -> SeedStatistics:
    """:func:`over_seeds` for the values of both, computed from the two results."""
    both = one, other
    count = sum(figure.seeds for figure in both)
    mean = sum(figure.mean * figure.seeds for figure in both) / count
    squares = sum(
        (figure.seeds - 1) * (figure.sd or 0.0) ** 2 + figure.seeds * (figure.mean - mean) ** 2
        for figure in both
    )
    sd = (squares / (count - 1)) ** 0.5
    return SeedStatistics(round(mean, 4), round(sd, 4), count)


def mean_and_sd(figure: SeedStatistics, places: int) -> str:
    """Text with ``places`` decimals: ``114.50 ± 0.31``."""
    mean = f"{figure.mean:.{places}f}"
    return mean if figure.sd is None else f"{mean} ± {figure.sd:.{places}f}"


def interval_of_mean(figure: SeedStatistics) -> Interval | None:
    """The 95% confidence interval (Student's t) of the mean; None for one seed."""
    from scipy.stats import t as student  # takes a second, and few need it

    if figure.sd is None:
        return None
    half = float(student.ppf(0.975, figure.seeds - 1)) * figure.sd / figure.seeds**0.5
    return round(figure.mean - half, 4), round(figure.mean + half, 4)

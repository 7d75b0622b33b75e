"""Figures of several runs that differ in nothing but the seed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import t as student

Interval = tuple[float, float]


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """``mean`` and sample standard deviation (``sd``, None for one value) of one value a seed."""
    return {
        "mean": round(statistics.fmean(values), 4),
        "sd": round(statistics.stdev(values), 4) if len(values) > 1 else None,
        "seeds": len(values),
    }


def pooled(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`over_seeds` would have made of the values of both, told from what it made."""
    both = one, other
    count = sum(figure["seeds"] for figure in both)
    mean = sum(figure["mean"] * figure["seeds"] for figure in both) / count
    squares = sum(
        (figure["seeds"] - 1) * (figure["sd"] or 0.0) ** 2
        + figure["seeds"] * (figure["mean"] - mean) ** 2
        for figure in both
    )
    sd = (squares / (count - 1)) ** 0.5
    return {"mean": round(mean, 4), "sd": round(sd, 4), "seeds": count}


def mean_and_sd(figure: Mapping[str, Any], places: int) -> str:
    """What :func:`over_seeds` made, as text with ``places`` decimals: ``114.50 ± 0.31``."""
    mean = f"{figure['mean']:.{places}f}"
    return mean if figure["sd"] is None else f"{mean} ± {figure['sd']:.{places}f}"


def interval_of_mean(figure: Mapping[str, Any]) -> Interval | None:
    """The 95 % confidence interval (Student's t) of the mean that :func:`over_seeds` made.

    None for one seed.
    """
    if figure["sd"] is None:
        return None
    seeds = figure["seeds"]
    half = float(student.ppf(0.975, seeds - 1)) * figure["sd"] / seeds**0.5
    return round(figure["mean"] - half, 4), round(figure["mean"] + half, 4)

"""What is shown of records, as data: figures of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scripts.lab.records.seeds import Interval


def perplexity(nll: float) -> float:
    """e to the NLL (nats per token); infinity where that is beyond the numbers of a computer."""
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

"""The difference of two systems over the seeds of their training and the test sentences together.

The scores of a system's runs differ because training is random and because a test set is a sample.
Both are taken for random effects, crossed, as in the quasi-F test of Clark (1973): how far a run is
from the mean of its row, how far a block of sentences is from the mean of the test set, and what of
a block is the row's or the run's own. The components of variance are those of an analysis of
variance, and Student's t has the degrees of freedom of Satterthwaite (1946).
``docs/significance.md`` says why, and how often the intervals hold the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tiednmt.seeds import Interval

BLOCKS = 100  # of sentences; the standard error of one pair of runs is known to 7%
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class RunScore:
    """The score of one run on a test set, and how the test sentences move it.

    ``influences`` has a value per block of sentences, by the jackknife. Over all blocks the sum of
    the products of two runs' values estimates the covariance of their scores over test sets like
    this one, and the sum of one's squares its variance. Two sentences or more give influences.
    """

    score: float
    influences: Sequence[float]


@dataclass(frozen=True)
class Estimate:
    """A figure with its sampling variance.

    ``degrees`` are those of freedom of ``variance``. Without ``over_seeds`` the variance is that of
    the test sentences alone: every row has one seed, and nothing is known of others.
    """

    value: float
    variance: float
    degrees: float
    over_seeds: bool

    @property
    def interval(self) -> Interval:
        """Holds the true figure with a confidence of 95%."""
        half = self._quantile((1 + _CONFIDENCE) / 2)
        return self.value - half, self.value + half

    def not_worse_by(self, better: str) -> float:
        """A difference is to the worse by at most this, with a confidence of 95% (one-sided).

        Below zero: it is to the better by at least as much.

        Args:
            better: ``higher`` or ``lower``, which scores are.
        """
        return self._quantile(_CONFIDENCE) + (-self.value if better == "higher" else self.value)

    @property
    def p_value(self) -> float:
        """How likely chance alone makes a figure as far from zero, on either side."""
        from scipy.stats import t as student  # takes a second, and few need it

        if not self.variance:
            return 0.0 if self.value else 1.0
        return float(2 * student.sf(abs(self.value) / self.variance**0.5, self.degrees))

    def _quantile(self, probability: float) -> float:
        from scipy.stats import t as student

        return float(student.ppf(probability, self.degrees)) * math.sqrt(self.variance)


def jackknife(statistics: np.ndarray, score_of: Callable[[np.ndarray], float]) -> tuple[float, ...]:
    """The influences of consecutive blocks of sentences on a corpus score.

    Blocks hold neighbours together, which belong to one document where there are documents.

    Args:
        statistics: sentences × what the metric counts of each.
        score_of: the score of a corpus with these sums of counts.

    Returns:
        A value per block, in the score's unit; none for fewer than two sentences.
    """
    count = min(BLOCKS, len(statistics))
    if count < 2:
        return ()
    sums = np.stack([block.sum(0) for block in np.array_split(statistics, count)])
    left_out = np.array([score_of(rest) for rest in sums.sum(0) - sums])
    return tuple(float(one) for one in (left_out.mean() - left_out) * ((count - 1) / count) ** 0.5)


def difference(system: Sequence[RunScore], baseline: Sequence[RunScore]) -> Estimate:
    """The mean score of a system's runs less that of the baseline's, on one test set.

    The seeds of both are taken to spread alike, so one of them may have a single run.
    """
    return _contrast([(1.0, system), (-1.0, baseline)])


def mean_score(runs: Sequence[RunScore]) -> Estimate:
    """The mean score of a system's runs on one test set."""
    return _contrast([(1.0, runs)])


def mean_of_test_sets(by_test_set: Sequence[Sequence[RunScore]]) -> list[RunScore]:
    """The mean score of each run over test sets that have no sentence in common.

    Args:
        by_test_set: the same runs, in the same order, on each test set.
    """
    count = len(by_test_set)
    return [
        RunScore(
            sum(one.score for one in of_run) / count,
            [value / count for one in of_run for value in one.influences],
        )
        for of_run in zip(*by_test_set, strict=True)
    ]


def mean_of_independent(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of figures that have neither runs nor sentences in common."""
    count = len(estimates)
    variances = [one.variance for one in estimates]
    squares = sum(one.variance**2 / one.degrees for one in estimates)
    return Estimate(
        value=sum(one.value for one in estimates) / count,
        variance=sum(variances) / count**2,
        degrees=sum(variances) ** 2 / squares if squares else min(e.degrees for e in estimates),
        over_seeds=all(one.over_seeds for one in estimates),
    )


def _contrast(rows: Sequence[tuple[float, Sequence[RunScore]]]) -> Estimate:
    """The sum of the rows' mean scores, each times its weight."""
    weights = [weight for weight, _ in rows]
    scores = [np.array([run.score for run in runs]) for _, runs in rows]
    influences = [np.array([run.influences for run in runs]) for _, runs in rows]  # runs × blocks
    value = float(sum(w * of.mean() for w, of in zip(weights, scores, strict=True)))
    by_block = sum(w * of.mean(0) for w, of in zip(weights, influences, strict=True))
    sentences, sentence_degrees = float(np.sum(by_block**2)), np.size(by_block) - 1
    seed_degrees = sum(len(of) - 1 for of in scores)
    if not seed_degrees:
        return Estimate(value, sentences, sentence_degrees, over_seeds=False)

    # Each of the first two holds the third: another seed translates other sentences well.
    share = sum(w**2 / len(of) for w, of in zip(weights, scores, strict=True)) / seed_degrees
    seeds = share * sum(map(_squares, scores))
    both = share * sum(map(_squares, influences))
    variance = both + max(seeds - both, 0.0) + max(sentences - both, 0.0)
    uncertain = seeds**2 / seed_degrees + sentences**2 / sentence_degrees
    most = seed_degrees + sentence_degrees
    degrees = min(variance**2 / uncertain, most) if uncertain else most
    return Estimate(value, variance, degrees, over_seeds=True)


def _squares(values: np.ndarray) -> float:
    """The sum of squared deviations from the mean over runs."""
    return float(np.sum((values - values.mean(0)) ** 2))

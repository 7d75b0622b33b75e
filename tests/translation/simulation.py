"""Scores with known effects of systems, seeds and sentences, and other ways to compare them.

``python -m tests.translation.simulation`` prints the table of ``docs/significance.md``: how
often the 95% intervals of each way hold the true difference, and how wide they are.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tiednmt.translation.significance import RunScore, difference

Row = np.ndarray  # runs × sentences; a run's score is the mean over its sentences


@dataclass(frozen=True)
class Effects:
    """Standard deviations of what moves the score of a run on the whole test set."""

    seed: float  # good on every test set
    system: float  # one system is better on these sentences
    both: float  # one seed is better on these sentences
    sentence: float = 3.0  # easy sentences, easy for all


def draw(
    effects: Effects, seeds: tuple[int, int], true: float, sentences: int, dice: np.random.Generator
) -> tuple[Row, Row]:
    """The sentence scores of two systems of which the first is better by ``true``."""
    size = sentences**0.5  # an effect on the mean is one of a sentence divided by this
    easy = dice.normal(0, effects.sentence * size, sentences)
    rows = []
    for count, mean in zip(seeds, (true, 0.0), strict=True):
        own = dice.normal(0, effects.system / 2**0.5 * size, sentences)
        of_seed = dice.normal(0, effects.seed, (count, 1))
        rest = dice.normal(0, effects.both * size, (count, sentences))
        rows.append(mean + of_seed + easy + own + rest)
    return rows[0], rows[1]


def runs(row: Row) -> list[RunScore]:
    """As they are scored; the jackknife of a mean is no more than this."""
    size = row.shape[1]
    return [RunScore(run.mean(), (run - run.mean()) / (size * (size - 1)) ** 0.5) for run in row]


# --- ways to an interval -----------------------------------------------------------------------


def ours(one: Row, other: Row, dice: np.random.Generator) -> tuple[float, float]:
    return difference(runs(one), runs(other)).interval


def students_t(one: Row, other: Row, dice: np.random.Generator) -> tuple[float, float]:
    """Over the seeds alone, as if the test set were all there is."""
    found = stats.ttest_ind(one.mean(1), other.mean(1)).confidence_interval()
    return found.low, found.high


def of_sentences(one: Row, other: Row, dice: np.random.Generator) -> tuple[float, float]:
    """The paired bootstrap of the mean over the seeds (Koehn, 2004)."""
    apart = one.mean(0) - other.mean(0)
    return tuple(np.quantile(_resamples(len(apart), dice) @ apart, [0.025, 0.975]))


def hierarchical(one: Row, other: Row, dice: np.random.Generator) -> tuple[float, float]:
    """Sentences, and seeds of each system, drawn anew."""
    weights = _resamples(one.shape[1], dice)
    samples = []
    for row in (one, other):
        scores = weights @ row.T  # resamples × runs
        picked = dice.integers(0, len(row), scores.shape)
        samples.append(np.take_along_axis(scores, picked, axis=1).mean(1))
    return tuple(np.quantile(samples[0] - samples[1], [0.025, 0.975]))


def _resamples(sentences: int, dice: np.random.Generator) -> np.ndarray:
    """How much every sentence counts, by resample."""
    return dice.multinomial(sentences, np.full(sentences, 1 / sentences), 500) / sentences


def summed(one: Row, other: Row, dice: np.random.Generator) -> tuple[float, float]:
    """The variance over the seeds and that over the sentences, added up."""
    apart = one.mean(0) - other.mean(0)
    counts = [len(one), len(other)]
    freedom = sum(counts) - 2
    spread = sum(len(row) * row.mean(1).var() for row in (one, other)) / freedom
    seeds, sentences = spread * sum(1 / n for n in counts), apart.var(ddof=1) / len(apart)
    variance = seeds + sentences
    degrees = variance**2 / (seeds**2 / freedom + sentences**2 / (len(apart) - 1))
    half = stats.t.ppf(0.975, degrees) * variance**0.5
    return apart.mean() - half, apart.mean() + half


def coverage(way, effects, seeds, times, dice, true=0.7, sentences=100):
    """How often the interval holds the true difference, and its median width."""
    found = np.array(
        [way(*draw(effects, seeds, true, sentences, dice), dice) for _ in range(times)]
    )
    held = (found[:, 0] <= true) & (true <= found[:, 1])
    return held.mean(), np.median(found[:, 1] - found[:, 0])


WAYS = {
    "sentences alone": of_sentences,
    "seeds alone": students_t,
    "hierarchical bootstrap": hierarchical,
    "sum of both": summed,
    "ours": ours,
}


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print("| seeds | seed | system | both |", " | ".join(WAYS), "|")
    for seeds in ((3, 3), (2, 2), (5, 5), (1, 3)):
        for seed, system, both in ((0, 0.3, 0.3), (0.3, 0.3, 0.3), (0.6, 0.3, 0.3), (0.3, 0, 0.3)):
            cells = []
            for way in WAYS.values():
                dice = np.random.default_rng(1)
                held, width = coverage(way, Effects(seed, system, both), seeds, times, dice)
                cells.append(f"{held:.1%} ({width:.2f})")
            label = f"{seeds[0]} and {seeds[1]} | {seed} | {system} | {both}"
            print(f"| {label} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()

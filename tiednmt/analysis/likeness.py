"""How alike embeddings are: Spearman's ρ of all their pairwise cosines (Press & Wolf 2017).

Up to 10,000 words (50 million pairs), every pair counts. Cosines are rounded to seven places, so
that those that differ only by rounding error tie, and a table maps cosines to ranks without a list
of all pairs in memory. With more words, pairs are sampled, and the error is estimated from how much
parts of the sample differ.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr, t

from tiednmt.analysis.embeddings import Embedding, Vectors, common_words, unit_length

EXACT_WORDS = 10_000
SAMPLE_PAIRS, SAMPLE_PARTS = 1_000_000, 20
CONFIDENCE = 0.95

_BLOCK_ROWS = 500
_BLOCK_PAIRS = 50_000
_STEPS = 10**7  # from a cosine of 0 to one of 1


@dataclass(frozen=True)
class Likeness:
    """ρ of every two embeddings, by their names.

    Attributes:
        words: the words that all the embeddings have.
        pairs: how many pairs of words each ρ is computed over.
        exact: whether these are all pairs.
        rho: ρ of two embeddings; None if all cosines of one are equal.
        error: half the width of the 95% confidence interval of ρ; 0 if exact, or if ρ is None.
    """

    words: int
    pairs: int
    exact: bool
    rho: Mapping[tuple[str, str], float | None]
    error: Mapping[tuple[str, str], float]


def likeness(
    embeddings: Mapping[str, Embedding], exact_words: int = EXACT_WORDS, seed: int = 1
) -> Likeness:
    """How alike every two of the embeddings are, over the words that all of them have.

    Args:
        embeddings: at least two, by name.
        exact_words: with more common words than this, pairs are sampled.
        seed: of the sample.
    """
    words = common_words(list(embeddings.values()))
    vectors = {name: embedding.take(words) for name, embedding in embeddings.items()}
    if len(words) > exact_words:
        return _sampled(vectors, len(words), seed)
    pairs = len(words) * (len(words) - 1) // 2
    correlation = _exact(list(vectors.values()), pairs)
    rho = {
        (one, other): _number(correlation[i, j])
        for (i, one), (j, other) in combinations(enumerate(vectors), 2)
    }
    return Likeness(len(words), pairs, True, rho, dict.fromkeys(rho, 0.0))


def _exact(vectors: Sequence[Vectors], pairs: int) -> NDArray[np.float64]:
    """Pearson's correlations of the ranks, embeddings × embeddings. Two passes over cosines."""
    tables = [_ranks(rows) - (pairs - 1) for rows in vectors]  # minus their mean
    products = np.zeros((len(vectors), len(vectors)))
    for blocks in zip(*map(_cosine_steps, vectors), strict=True):
        ranks = np.stack([table[steps] for table, steps in zip(tables, blocks, strict=True)])
        products += ranks @ ranks.T
    lengths = np.sqrt(np.diag(products))
    with np.errstate(invalid="ignore"):  # all cosines alike: 0 / 0
        correlations: NDArray[np.float64] = products / np.outer(lengths, lengths)
    return correlations


def _ranks(vectors: Vectors) -> NDArray[np.float64]:
    """Twice the rank (from 0) of the pairs in each step; ties have their mean rank."""
    counts = np.zeros(2 * _STEPS + 1, dtype=np.int64)
    for steps in _cosine_steps(vectors):
        counts += np.bincount(steps, minlength=len(counts))
    return (2 * np.cumsum(counts) - counts - 1).astype(np.float64)


def _cosine_steps(vectors: Vectors) -> Iterator[NDArray[np.int64]]:
    """The cosines of rows i < j as whole numbers of steps above −1, a block of rows i at a time."""
    directions = unit_length(vectors)
    for start in range(0, len(directions), _BLOCK_ROWS):
        cosines = directions[start : start + _BLOCK_ROWS] @ directions[start:].T
        above = cosines[np.triu(np.ones(cosines.shape, dtype=bool), 1)]
        yield np.rint((above.clip(-1, 1) + 1) * _STEPS).astype(np.int64)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _sampled(vectors: Mapping[str, Vectors], words: int, seed: int) -> Likeness:
    random = np.random.default_rng(seed)
    first = random.integers(words, size=SAMPLE_PAIRS)
    second = (first + random.integers(1, words, size=SAMPLE_PAIRS)) % words
    cosines = {name: _cosines_of(rows, first, second) for name, rows in vectors.items()}
    rho: dict[tuple[str, str], float | None] = {}
    error: dict[tuple[str, str], float] = {}
    for one, other in combinations(cosines, 2):
        a, b = cosines[one], cosines[other]
        rho[one, other], error[one, other] = _number(_spearman(a, b)), 0.0
        if rho[one, other] is not None:
            parts = zip(np.split(a, SAMPLE_PARTS), np.split(b, SAMPLE_PARTS), strict=True)
            error[one, other] = _half_width([_spearman(*part) for part in parts])
    return Likeness(words, SAMPLE_PAIRS, False, rho, error)


def _cosines_of(
    vectors: Vectors, first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    directions = unit_length(vectors)
    blocks = (slice(start, start + _BLOCK_PAIRS) for start in range(0, len(first), _BLOCK_PAIRS))
    parts = [np.einsum("ij,ij->i", directions[first[b]], directions[second[b]]) for b in blocks]
    return np.concatenate(parts)


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all cosines alike: not a number
        return float(spearmanr(one, other).statistic)


def _half_width(values: Sequence[float]) -> float:
    """Half the width of the confidence interval of a mean over independent parts."""
    spread = np.std(values, ddof=1) / np.sqrt(len(values))
    return float(spread * t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))

"""Correlation of all pairwise cosines: against SciPy, exact against sampled."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from tiednmt.analysis.embeddings import Embedding
from tiednmt.analysis.likeness import likeness

ROOT = Path(__file__).resolve().parents[2]


def embeddings(words=700, dim=12, seed=1):
    """Three, of which the third is a mixture of the others."""
    random = np.random.default_rng(seed)
    u, v = random.normal(size=(2, words, dim))
    rows = {"U": u, "V": v, "S": 0.4 * u + v}
    names = tuple(f"w{i}" for i in range(words))
    return {name: Embedding(name, names, r.astype(np.float32)) for name, r in rows.items()}


def cosines(vectors):
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (directions @ directions.T)[np.triu_indices(len(vectors), 1)]


def test_exact_is_scipy_s_of_all_pairs():
    """Over several blocks of rows (there are 500 a block)."""
    given = embeddings()
    found = likeness(given)
    assert found.exact
    assert (found.words, found.pairs) == (700, 700 * 699 // 2)
    assert list(found.rho) == [("U", "V"), ("U", "S"), ("V", "S")]
    for one, other in combinations(given, 2):
        sides = (cosines(given[name].vectors.astype(float)) for name in (one, other))
        expected = spearmanr(*sides).statistic
        assert found.rho[one, other] == pytest.approx(expected, abs=1e-6)
        assert found.error[one, other] == 0


def test_ties():
    """Rows that point along few directions: most cosines are equal."""
    random = np.random.default_rng(2)
    words = tuple(f"w{i}" for i in range(60))
    rows = {name: np.eye(3)[random.integers(3, size=60)] * 3 + 1 for name in "UV"}
    given = {n: Embedding(n, words, r.astype(np.float32)) for n, r in rows.items()}
    exact = (np.round(cosines(rows[name]), 9) for name in "UV")
    assert likeness(given).rho["U", "V"] == pytest.approx(spearmanr(*exact).statistic, abs=1e-9)


def test_over_common_words_whatever_their_order():
    given = embeddings(40)
    order = np.random.default_rng(3).permutation(40)
    u = given["U"]
    mixed = Embedding(
        "V", ("only here", *(u.words[i] for i in order)), np.vstack([np.ones(12), u.vectors[order]])
    )
    found = likeness({"U": u, "V": mixed})
    assert found.words == 40
    assert found.rho["U", "V"] == pytest.approx(1.0)


def test_no_value_where_all_are_alike():
    same = Embedding("U", tuple("abcd"), np.ones((4, 2), dtype=np.float32))
    for exact_words in (4, 3):
        found = likeness({"U": same, "V": same}, exact_words)
        assert found.exact == (exact_words == 4)
        assert (found.rho["U", "V"], found.error["U", "V"]) == (None, 0)


def test_sampled_is_within_the_stated_error(monkeypatch):
    monkeypatch.setattr("tiednmt.analysis.likeness.SAMPLE_PAIRS", 100_000)
    given = embeddings(300)
    exact = likeness(given)
    inside = []
    for seed in range(3):
        sampled = likeness(given, exact_words=299, seed=seed)
        assert not sampled.exact
        for two, rho in sampled.rho.items():
            assert 0 < sampled.error[two] < 0.015
            assert abs(rho - exact.rho[two]) < 2 * sampled.error[two]
            inside.append(abs(rho - exact.rho[two]) < sampled.error[two])
    assert sum(inside) >= 7  # of 9, at 95% each


BUDGET = """
import resource, sys
import numpy as np
from tiednmt.analysis.embeddings import Embedding
from tests.support.memory import peak_of_memory
from tiednmt.analysis.likeness import likeness
count = int(sys.argv[1])
words = tuple(map(str, range(count)))
rows = np.random.default_rng(1).normal(size=(3, count, 200)).astype(np.float32)
found = likeness({name: Embedding(name, words, r) for name, r in zip("UVS", rows)})
assert (found.exact, found.pairs) == (True, count * (count - 1) // 2)
used = resource.getrusage(resource.RUSAGE_SELF)
print(peak_of_memory() / 1e6, used.ru_utime + used.ru_stime)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "most_gigabytes", "most_seconds"),
    [(5_000, 1.3, 60), pytest.param(10_000, 2, 120, marks=pytest.mark.nightly)],
)
def test_memory_and_time_of_all_pairs(words, most_gigabytes, most_seconds):
    """Of one thread's time, start and imports included; half of it where the machine is not busy.

    Ten thousand words are the most of which every pair counts.
    """
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BUDGET, str(words)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, env=one_thread
    )
    gigabytes, seconds = map(float, done.stdout.split())
    print(f"{gigabytes:.2f} GB, {seconds:.0f} s")
    assert gigabytes < most_gigabytes
    assert seconds < most_seconds

"""Word similarity: values computed by hand, SciPy as reference, the real sets, broken files."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from scipy.stats import spearmanr

from tiednmt.analysis.embeddings import Embedding, nearest
from tiednmt.analysis.word_similarity import (
    SETS,
    WordPairs,
    parse_pairs,
    set_name,
    word_similarity,
)
from tiednmt.errors import UserError
from tiednmt.text.lines import read_lines

# unit vectors at 0, 10, 30, 60 and 100 degrees: the cosine falls with the angle between them
ANGLES = dict(zip("abcde", (0, 10, 30, 60, 100), strict=True))


def embedding(words=ANGLES, name="U", scale=1.0):
    angles = np.radians([ANGLES[word] for word in words])
    rows = scale * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Embedding(name, tuple(words), rows.astype(np.float32))


def pairs(*lines):
    return parse_pairs("set", lines, "set.txt")


def test_by_hand():
    """Angles of 10, 30, 60, 20 and 70 degrees: ranks of cosines 5, 3, 2, 4, 1, of scores 5, 2, 1,
    4, 3, so the squared differences sum to 6."""
    found = word_similarity(embedding(), pairs("a b 9", "a c 5", "a d 4", "b c 7", "c e 6"))
    assert found.rho == pytest.approx(1 - 6 * 6 / (5 * (5**2 - 1)))
    assert (found.covered, found.pairs) == (5, 5)


def test_ties_share_their_mean_rank():
    """Human ranks 1.5, 1.5, 3 beside cosines' ranks 3, 2, 1: ρ = −1.5/√(1.5·2)."""
    found = word_similarity(embedding(), pairs("a b 1", "b c 1", "c e 2"))
    assert found.rho == pytest.approx(-1.5 / np.sqrt(1.5 * 2))


def test_like_scipy():
    random = np.random.default_rng(1)
    words = tuple(f"w{i}" for i in range(40))
    rows = random.normal(size=(40, 7)).astype(np.float32)
    first = random.integers(40, size=200)
    indices = np.stack([first, (first + random.integers(1, 40, size=200)) % 40], axis=1)
    scores = random.integers(10, size=200)  # with many ties
    lines = [f"w{i}\tw{j}\t{s}" for (i, j), s in zip(indices, scores, strict=True)]
    found = word_similarity(Embedding("V", words, rows), pairs(*lines))
    rows = rows.astype(float)
    norms = np.linalg.norm(rows, axis=1)
    cosines = [round(rows[i] @ rows[j] / (norms[i] * norms[j]), 12) for i, j in indices]
    assert found.rho == pytest.approx(spearmanr(cosines, scores).statistic, abs=1e-6)


def test_only_covered_pairs_count():
    more = pairs("a b 9", "a c 5", "a zebra 10", "a d 4", "zebra lion 0")
    found = word_similarity(embedding(), more)
    assert found.rho == pytest.approx(1.0)
    assert (found.covered, found.pairs) == (3, 5)


@pytest.mark.parametrize("lines", [("x y 3", "a x 4"), ("a b 3", "a x 4"), ("a b 3", "b c 3")])
def test_no_value_where_nothing_can_be_ranked(lines):
    found = word_similarity(embedding(), pairs(*lines))
    assert found.rho is None
    assert found.covered == sum("x" not in line for line in lines)


def test_words_as_written_or_else_in_lower_case():
    assert word_similarity(embedding(), pairs("A B 9", "A C 5")).covered == 2
    cased = Embedding("U", ("A", "a"), np.array([[1, 0], [0, 1]], dtype=np.float32))
    np.testing.assert_array_equal(cased.vector("A"), [1, 0])


def test_words_of_units_are_their_mean():
    u = embedding("abc")
    np.testing.assert_allclose(u.vector("abc", list), u.vectors.mean(axis=0))
    assert u.vector("abx", list) is None
    assert u.vector("", list) is None
    found = word_similarity(u, pairs("ab b 9", "ab c 5", "ax b 1"), list)
    assert found.covered == 2


def test_nearest_by_cosine_whatever_the_length():
    for scale in (0.1, 5):
        found = nearest(embedding(scale=scale), "A", 2)
        assert [word for word, _ in found] == ["b", "c"]
        assert [cosine for _, cosine in found] == pytest.approx(np.cos(np.radians([10, 30])))
    assert nearest(embedding(), "zebra", 2) == []


class TestFiles:
    @pytest.mark.parametrize(
        "line", ["dog cat", "dog cat 3 4", "dog cat three", "dog cat nan", "a\tb\t"]
    )
    def test_broken_line_is_named_by_its_number(self, line):
        with pytest.raises(UserError, match=r"^set\.txt, line 3: not two words and a score"):
            pairs("a b 3.5", "", line)

    def test_empty(self):
        with pytest.raises(UserError, match=r"set\.txt: holds no word pairs"):
            pairs("", "")

    def test_ends_of_lines_of_windows(self, tmp_path):
        (tmp_path / "set.txt").write_bytes(b"sun\tlight\t3.79\r\nsun\tmoon\t2\r\n")
        found = parse_pairs("set", read_lines(tmp_path / "set.txt"), "set.txt")
        assert found == WordPairs("set", (("sun", "light", 3.79), ("sun", "moon", 2.0)))


# pairs of each set, and those whose words are both in PTB's training text
SIZES = {
    "SimLex-999": (999, 575),
    "Verb-143": (144, 135),  # as published, one more than its name says
    "MEN": (3000, 1048),
    "Rare-Word": (2034, 145),
    "MTurk-771": (771, 425),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", SETS)
def test_coverage_of_the_real_sets(name, data_folder):
    lines = read_lines(data_folder / "wordsim" / SETS[name])
    found = parse_pairs(name, lines, name)
    words = set(_text(data_folder / "ptb").split())
    known = tuple(sorted(words))
    u = Embedding("U", known, np.ones((len(known), 2), dtype=np.float32))
    result = word_similarity(u, found)
    assert (result.pairs, result.covered) == SIZES[name]
    expected = sum(
        all(word in words or word.lower() in words for word in pair[:2]) for pair in found.pairs
    )
    assert result.covered == expected


def _text(folder):
    path = folder / "ptb.train.txt"
    if path.exists():
        return path.read_text()
    with gzip.open(f"{path}.gz", "rt") as file:
        return file.read()


def test_units_of_a_word_are_not_its_neighbours():
    """ "ab" is the mean of "a" and "b", whose cosines with it are the greatest."""
    rows = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1]], dtype=np.float32)
    found = nearest(Embedding("S", ("a", "b", "near", "far"), rows), "ab", 2, list)
    assert [name for name, _ in found] == ["near", "far"]
    assert found[0][1] == pytest.approx((2 / 6) ** 0.5 * 2**0.5)


def test_names_of_sets(tmp_path):
    assert set_name(tmp_path / "EN-RW-STANFORD.txt") == "Rare-Word"
    assert set_name(tmp_path / "mine.txt") == "mine"

"""Norms by frequency, and the map."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tiednmt.analysis.embeddings import Embedding
from tiednmt.analysis.geometry import in_two_dimensions, norms_by_frequency
from tiednmt.criterions.row_movement import read_row_movement
from tiednmt.errors import UserError
from tiednmt.frequency import bands


def test_bands():
    assert bands(2500) == [(1, 10), (11, 100), (101, 1000), (1001, 2500)]
    assert bands(10) == [(1, 10)]
    assert bands(3) == [(1, 3)]
    assert bands(0) == []


def test_norms():
    rows = np.zeros((12, 2), dtype=np.float32)
    rows[:10] = (3, 4)
    rows[10:] = ((0, 2), (0, 4))
    words = tuple(f"w{i}" for i in range(12))
    assert norms_by_frequency(Embedding("U", words, rows)) == {(1, 10): 5.0, (11, 12): 3.0}


def test_pca_keeps_what_varies_most():
    """A flat cloud in ten dimensions: distances within the plane are kept."""
    random = np.random.default_rng(1)
    plane = random.normal(size=(50, 2)) * (5, 2)
    turn, _ = np.linalg.qr(random.normal(size=(10, 10)))
    rows = (np.pad(plane, ((0, 0), (0, 8))) @ turn + 7).astype(np.float32)
    points = in_two_dimensions(rows)
    assert points.shape == (50, 2)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-5)

    def distances(x):
        return np.linalg.norm(x[:, None] - x[None], axis=2)

    np.testing.assert_allclose(distances(points), distances(plane), atol=1e-4)
    assert points[:, 0].var() > points[:, 1].var()


def test_rows_of_one_number_are_on_a_line():
    points = in_two_dimensions(np.array([[1], [3], [2]], dtype=np.float32))
    np.testing.assert_allclose(abs(points), [[1, 0], [1, 0], [0, 0]], atol=1e-6)


def test_a_map_takes_three_words():
    with pytest.raises(UserError, match="map of 2 words"):
        in_two_dimensions(np.ones((2, 4), dtype=np.float32))


def test_umap_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match="pip install umap-learn"):
        in_two_dimensions(np.eye(4, dtype=np.float32), "umap")


class TestRowMovement:
    LINE = '{"update": %d, "matrices": {"U": [{"ranks": [1, 10], "moved": %d, "distance": %f}]}}\n'

    def test_means_over_updates(self, tmp_path):
        assert read_row_movement(tmp_path) is None
        path = tmp_path / "row-movement.jsonl"
        path.write_text(self.LINE % (1, 4, 0.5) + self.LINE % (5, 6, 0.25))
        (band,) = read_row_movement(tmp_path)["matrices"]["U"]
        assert band == {"ranks": [1, 10], "rows": 10, "moved": 5, "distance": 0.375}
        assert read_row_movement(tmp_path)["updates"] == 2

    def test_damaged_line_is_named(self, tmp_path):
        path = tmp_path / "row-movement.jsonl"
        path.write_text(self.LINE % (1, 4, 0.5) + '{"update": 2, "matr')
        with pytest.raises(UserError, match=r"row-movement\.jsonl, line 2: damaged"):
            read_row_movement(tmp_path)

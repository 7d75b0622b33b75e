"""What the picture of a report shows."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tests.support.small_models import JOINT
from tests.vocabulary.test_surgery import trained
from tiednmt.vocabulary import report as reports
from tiednmt.vocabulary.report import Cost, Matrix, Report
from tiednmt.vocabulary.trim import Coverage


def matrix(units):
    """Rows 4, 5, … of units, the last the most frequent; the norm of row n is n."""
    rows = range(units + 4)
    return Matrix(
        name="source input embedding = output embedding",
        symbols=[f"w{row}" for row in rows],
        counts=list(rows),
        norms=torch.arange(units + 4.0),
        nearest=torch.zeros(units + 4, dtype=torch.long),
        cosines=torch.zeros(units + 4),
        units=list(reversed(rows[4:])),
    )


def test_norms_stand_over_the_rank_of_their_units():
    (chart,) = Report([matrix(30)], []).picture.charts
    (series,) = chart.series
    assert series.name == "U_src = V"
    assert [(point.x, point.y) for point in series.points] == [(r, 34 - r) for r in range(1, 31)]
    assert chart.x.logarithmic and not series.joined


def test_of_a_large_vocabulary_a_part_is_drawn():
    (chart,) = Report([matrix(50_000)], []).picture.charts
    points = chart.series[0].points
    assert 200 < len(points) < 500
    assert (points[0].x, points[-1].x) == (1, 50_000)
    assert all(point.x + point.y == 50_004 for point in points)


def test_what_trimming_costs():
    costs = [
        Cost(units, 1, Coverage(tokens=200, units=220, units_after=after, changed=0, unknown=lost))
        for units, after, lost in ((10, 500, 50), (40, 220, 0))
    ]
    _, length, coverage = Report([matrix(3)], costs).picture.charts
    assert [(p.x, p.y) for p in length.series[0].points] == [(10, 2.5), (40, 1.1)]
    assert [(p.x, p.y) for p in coverage.series[0].points] == [(10, 25), (40, 0)]


COUNTS = {"w1": 7}, {"w1": 3, "w6": 4}  # of source and target


def test_rows_of_a_model(monkeypatch):
    """Nearest rows in another part than their own, counts of a side, rows that nothing uses."""
    monkeypatch.setattr(reports, "_ROWS_AT_ONCE", 3)
    model = trained(tying="decoder")
    matrix = model.weights["decoder.embedding.weight"]
    first, second = (JOINT.index(unit) for unit in ("w1", "w6"))
    matrix[second] = 2 * matrix[first]
    stored = SimpleNamespace(model=model, unit_counts=lambda: COUNTS)
    source, shared = reports.report(stored).matrices
    directions = F.normalize(matrix.float(), dim=1)
    cosines = (directions @ directions.T).fill_diagonal_(-2)
    assert shared.nearest.tolist() == cosines.argmax(1).tolist()
    assert shared.duplicates[0] == ("w1", "w6", pytest.approx(1))
    assert len(shared.duplicates) < 4
    assert (source.counts[first], shared.counts[first], shared.counts[second]) == (7, 3, 4)
    assert shared.unused == [unit for unit in JOINT.symbols[4:] if unit not in ("w1", "w6")]


def test_a_matrix_of_both_sides_has_the_counts_of_both():
    stored = SimpleNamespace(model=trained(), unit_counts=lambda: COUNTS)
    (shared,) = reports.report(stored).matrices
    assert [shared.counts[JOINT.index(unit)] for unit in ("w1", "w6")] == [10, 4]

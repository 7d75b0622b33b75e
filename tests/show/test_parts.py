"""Tables and charts of what several kinds of records have in common."""

import pytest

from tests.support import small_models
from tiednmt.embeddings.record import MovementBand
from tiednmt.show.figures import Axis, Cell
from tiednmt.show.parts import by_band, likeness_map, over_frequency, tie_bars, tie_table
from tiednmt.tying import tie_map


@pytest.fixture(params=[("none", [1, 1, 1]), ("decoder", [1, 2]), ("three-way", [3])])
def tied(request):
    """Small models by tying, one of them ``none``; the spans of the other's matrices."""
    tying, spans = request.param
    models = {name: small_models.model(name) for name in ("none", tying)}
    return tying, spans, models


def test_tied_matrices_are_one_cell(tied):
    tying, spans, models = tied
    ties = {name: tie_map(model.embeddings, model) for name, model in models.items()}
    table = tie_table(ties, {tying: 4})
    matrices = ["source input embedding", "target input embedding", "output embedding"]
    assert table.head[:4] == ["model", *matrices]
    (row,) = (row for row in table.rows if row[0] == tying)
    *cells, total, untied = row[1:]
    assert [cell.span for cell in cells if " × " in cell.below] == spans
    assert sum(cell.span for cell in cells) == len(table.head) - 3
    size = sum(parameter.numel() for parameter in models[tying].parameters())
    assert sum(int(cell.text.replace(",", "")) for cell in cells if cell.text != "–") == size
    assert total == Cell(f"{size:,}", f"{4 * size / 1e6:.1f} MB stored")
    assert untied == f"{ties[tying].untied_total:,}"


def test_bars_are_as_long_as_the_model_is_large(tied):
    tying, _, models = tied
    tie = tie_map(models[tying].embeddings, models[tying])
    pieces = tie_bars({tying: tie}).bars[tying]
    assert sum(piece.value for piece in pieces) == tie.total
    labels = {
        "none": ["U_src", "U_tgt", "V"],
        "decoder": ["U_src", "U_tgt = V"],
        "three-way": ["U_src = U_tgt = V"],
    }
    assert [piece.label for piece in pieces if piece.strong] == labels[tying]


def band(first, last, moved):
    return MovementBand(
        ranks=(first, last), rows=last - first + 1, moved=moved, distance=moved / 10
    )


BANDS = {"U": [band(1, 10, 5), band(11, 90, 0)], "V": [band(1, 10, 4)]}


def test_figures_by_band():
    table = by_band(BANDS, "moved", ".1f", "Rows")
    assert table.head == ["embedding", "1–10", "11–90"]
    assert table.rows == [["U", "5.0", "0.0"], ["V", "4.0", "–"]]


def test_zero_has_no_place_on_a_logarithmic_axis():
    def heights(y):
        chart = over_frequency(BANDS, lambda band: band.distance, "How far", y, ["U", "V"])
        return {series.name: [point.y for point in series.points] for series in chart.series}

    assert heights(Axis("distance")) == {"U": [0.5, 0], "V": [0.4]}
    assert heights(Axis("distance", logarithmic=True)) == {"U": [0.5], "V": [0.4]}


def test_likeness_is_symmetric():
    heat = likeness_map({("U", "V"): -0.25, ("U", "S"): None, ("V", "S"): 0.5})
    assert heat.rows == heat.columns == ["U", "V", "S"]
    assert heat.values == [[1.0, -0.25, None], [-0.25, 1.0, 0.5], [None, 0.5, 1.0]]
    assert heat.low == -0.25

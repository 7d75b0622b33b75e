"""Where marks, lines and labels lie on the canvas."""

import pytest

from scripts.lab.show.html import charts
from tiednmt.show.figures import Axis, Bars, Chart, HeatMap, Piece, Point, Series


def test_linear_scale():
    scale = charts.Scale(10, 20, start=100, end=0)
    assert [scale(value) for value in (10, 15, 20)] == [100, 50, 0]
    assert [(tick.at, tick.label) for tick in scale.ticks] == [
        (100, "10"),
        (80, "12"),
        (60, "14"),
        (40, "16"),
        (20, "18"),
        (0, "20"),
    ]


def test_logarithmic_scale():
    scale = charts.Scale(10, 1000, start=0, end=100, logarithmic=True)
    assert scale(100) == 50
    assert [tick.label for tick in scale.ticks] == ["10", "20", "50", "100", "200", "500", "1,000"]


@pytest.mark.parametrize("low, high", [(0.0012, 0.0013), (36.4, 38.9), (0, 7.2e6), (-3, 2)])
def test_ticks_lie_within_the_range(low, high):
    ticks = charts.Scale(low, high, start=0, end=1).ticks
    assert 3 <= len(ticks) <= 7
    for tick in ticks:
        value = float(tick.label.replace(",", ""))
        assert tick.at == pytest.approx((value - low) / (high - low), abs=0.01)


def test_axes_take_in_their_lower_bound_and_leave_room_beyond_the_values():
    scale = charts.scale_of(Axis("size", low=0), [2, 10], 0, 100)
    assert (scale.low, scale.high) == (0, pytest.approx(10.8))
    scale = charts.scale_of(Axis("size"), [2, 12], 0, 100)
    assert (scale.low, scale.high) == (pytest.approx(1.2), pytest.approx(12.8))
    scale = charts.scale_of(Axis("rank", logarithmic=True, low=1), [10, 100], 0, 100)
    assert scale.low == 1 and scale.high > 100
    one = charts.scale_of(Axis("size"), [3], 0, 100)
    assert one.low < 3 < one.high


def test_labels_of_a_map_do_not_overlap():
    points = [Point(0, 0, "first"), Point(0.001, 0, "second"), Point(1, 1, "third")]
    chart = Chart("Map", "", Axis(), Axis(), [Series("U", 0, points, joined=False)])
    drawn = charts.laid_out(chart)
    assert len(drawn.dots) == 3
    assert [label for *_, label in drawn.labels] == ["first", "third"]


def test_heat_map():
    heat = HeatMap("Heat", "", ["a", "b"], ["x"], [[0.5], [None]], "ρ", -1, 1, 1, dots=[(1, 0)])
    known, unknown = charts.laid_out(heat).squares
    assert (known.shade, known.text, known.dotted) == (0.75, "0.5", False)
    assert (unknown.shade, unknown.text, unknown.dotted) == (0.0, "–", True)
    assert known.x == unknown.x and unknown.y > known.y


def test_bars_are_to_scale():
    long, short = Piece("U_src = V", 300, True), Piece("the rest", 1, False)
    drawn = charts.laid_out(Bars("Sizes", "", "", {"a": [long, short], "b": [short]}))
    (first, second), (other,) = drawn.stretches
    assert first.width == pytest.approx(300 * second.width, rel=0.01)
    assert second.x == first.width and other.width == second.width
    assert [*first.words] == [("U", "src"), ("=", ""), ("V", "")] and not second.words


@pytest.mark.parametrize(("places", "text"), [(0, "0"), (2, "0.00")])
def test_a_value_that_rounds_to_zero_has_no_sign(places, text):
    heat = HeatMap("Heat", "", ["a"], ["x"], [[-0.001]], "ρ", -1, 1, places)
    (square,) = charts.laid_out(heat).squares
    assert square.text == text

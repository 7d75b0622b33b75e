"""Pictures by matplotlib: what is drawn, and that files are whole."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.figure
import pytest

from tiednmt.errors import UserError
from tiednmt.show import pictures
from tiednmt.show.figures import (
    Axis,
    Bars,
    Chart,
    HeatMap,
    Picture,
    Piece,
    Point,
    Series,
)
from tiednmt.show.pictures import draw

LINES = Chart(
    "Curves",
    "",
    Axis("epochs", low=0),
    Axis("perplexity", logarithmic=True),
    [
        Series("none", 0, [Point(1, 200), Point(2, 120)]),
        Series("none", 0, [Point(1, 210), Point(2, 125)]),
        Series("wt $5", 1, [Point(1, 180), Point(2, 110)], dashed=True),
    ],
)
DOTS = Chart(
    "Dots",
    "",
    Axis("ρ", low=0.0),
    Axis(names=["a", "b"]),
    [Series("U", 0, [Point(0.2, 0, interval=(0.1, 0.3)), Point(0.5, 1)], joined=False)],
)
MAP = Chart("Map", "", Axis(), Axis(), [Series("U", 0, [Point(0, 1, "year")], joined=False)])
HEAT = HeatMap("Heat", "", ["a"], ["x", "y"], [[0.5, None]], "ρ", places=2, dots=[(0, 1)])
BARS = Bars("Sizes", "", "parameters", {"none": [Piece("U_src", 9, True), Piece("rest", 1, False)]})


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws a picture; returns matplotlib's figure of it."""
    kept = []

    def keep(figure, path):
        kept.append(figure)

    monkeypatch.setattr(pictures, "save", keep)

    def one(*charts):
        draw([Picture("some", charts)], tmp_path)
        return kept[-1]

    return one


@pytest.mark.parametrize("chart", [LINES, DOTS, MAP, HEAT, BARS], ids=lambda chart: chart.title)
def test_every_form_is_written_as_png_and_svg(chart, tmp_path):
    draw([Picture("a b", [chart])], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-b.png", "a-b.svg"]
    assert (tmp_path / "a-b.png").read_bytes().startswith(b"\x89PNG")
    ElementTree.parse(tmp_path / "a-b.svg")


def test_nothing_is_left_where_drawing_fails(tmp_path, monkeypatch):
    (tmp_path / "some.png").write_text("old")

    def fail(self, path, **kwargs):
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", fail)
    with pytest.raises(UserError, match=r"some\.png: cannot be written: No space left"):
        draw([Picture("some", [LINES])], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["some.png"]
    assert (tmp_path / "some.png").read_text() == "old"


def test_lines_are_those_of_the_series(drawn):
    figure = drawn(LINES)
    (axes,) = figure.axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[200, 120], [210, 125], [180, 110]]
    colours = [line.get_color() for line in axes.lines]
    assert colours[0] == colours[1] != colours[2]
    assert (axes.get_xlabel(), axes.get_yscale(), axes.get_xlim()[0] <= 0) == (
        "epochs",
        "log",
        True,
    )
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["none", r"wt \$5"]


def test_one_series_needs_no_legend(drawn):
    assert not drawn(DOTS).legends


def test_error_bars_lie_along_the_values(drawn):
    (axes,) = drawn(DOTS).axes
    (bars,) = (c for c in axes.containers if hasattr(c, "has_xerr"))
    assert bars.has_xerr and not bars.has_yerr
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]


def test_many_points_are_dots(drawn):
    points = [Point(x, x * x) for x in range(1, 50)]
    (axes,) = drawn(replace(DOTS, y=Axis("y"), series=[Series("U", 0, points, joined=False)])).axes
    (line,) = axes.lines
    assert list(line.get_ydata()) == [point.y for point in points]
    assert (line.get_marker(), line.get_linestyle()) == (".", "None")


def test_charts_of_a_picture_stand_beside_each_other(drawn):
    figure = drawn(LINES, DOTS, MAP)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["Curves", "Dots", "Map"]


def test_a_panel_without_a_chart_is_left_empty(drawn):
    """Three charts in two columns."""
    panels = drawn(LINES, LINES, LINES).axes
    assert [axes.axison for axes in panels] == [True, True, True, False]

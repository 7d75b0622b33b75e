"""What is shown of gradients by use: the tables and the points of the charts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from scripts.lab.figures.uses import in_summary
from scripts.lab.records.schema import TranslationRecord
from tests.support import records
from tiednmt.embeddings import uses
from tiednmt.embeddings.gradients import GradientShares
from tiednmt.typed import Fault, from_json, to_json


def shares(**options):
    return from_json(GradientShares, records.gradients(**options))


def record(seeds=1, **gradients):
    content = {**records.translation(seeds), "gradients": gradients}
    del content["format"]
    return from_json(TranslationRecord, content)


def rows(table):
    return {(name, use): figures for name, use, *figures in table.rows}


def test_shares_over_the_training():
    """1, 1 and 6 of 8: an eighth each, and three quarters."""
    over, _ = uses.tables({"three-way": [shares()]})
    assert over.head[2:] == ["0", "100", "200"]
    assert rows(over) == {
        ("three-way", "source input"): ["12", "17", "25"],
        ("three-way", "target input"): ["12", "17", "25"],
        ("three-way", "output"): ["75", "67", "50"],
    }


def test_shares_in_the_rows_of_one_side():
    """Means of .6 / 6.6, .6 / 4.6 and .6 / 2.6 where a lookup and the output are alone."""
    _, sides = uses.tables({"three-way": [shares()]})
    assert sides.head[2:] == ["source only (5 rows)", "target only (6 rows)", "both (7 rows)"]
    lookup = f"{100 * (0.6 / 6.6 + 0.6 / 4.6 + 0.6 / 2.6) / 3:.0f}"
    assert rows(sides)["three-way", "source input"][:2] == [lookup, "0"]
    assert rows(sides)["three-way", "target input"][:2] == ["0", lookup]
    assert rows(sides)["three-way", "output"][0] == f"{100 - int(lookup)}"


def test_counts_of_rows_are_of_all_models_or_not_shown():
    other = replace(shares(), rows={"source only": 50, "target only": 60, "both": 70})
    _, sides = uses.tables({"three-way": [shares()], "of another corpus": [other]})
    assert sides.head[2:] == ["source only", "target only", "both"]


def test_seeds_have_a_mean_and_a_deviation():
    """Shares of 75 and 50 at the first update."""
    over, _ = uses.tables({"three-way": [shares(), shares(output=(2.0, 2.0, 2.0))]})
    assert rows(over)["three-way", "output"][0] == "62 ± 18"


def test_cosines_and_bands():
    bands, cosines = uses.further_tables({"three-way": [shares()]})
    assert bands.head[2:] == ["1–10", "11–20"]
    mean = f"{100 * (6 / 8 + 4 / 6 + 2 / 4) / 3:.0f}"
    assert rows(bands)["three-way", "output"] == [mean, mean]
    assert rows(cosines) == {("three-way", "source input and output"): ["0.010", "-0.020", "0.030"]}


def test_a_long_training_is_shown_at_a_few_updates():
    long = records.gradients()
    count = 81
    text = json.dumps(long).replace("[0, 100, 200]", str([100 * i for i in range(count)]))
    stretched = json.loads(text)
    for use in stretched["uses"].values():
        use.update(norms=[1.0] * count, bands=[], sides=None)
    stretched["cosines"] = {}
    over, *_ = uses.tables({"x": [from_json(GradientShares, stretched)]})
    assert over.head[2:] == ["0", "1,600", "3,200", "4,800", "6,400", "8,000"]


def test_dictionaries_apart_have_no_sides_and_share_some_bands():
    content = records.gradients()
    del content["rows"]
    for use, last in zip(content["uses"].values(), (20, 30, 30), strict=True):
        del use["sides"]
        use["bands"][-1]["ranks"] = [11, last]
    measured = {"none": [from_json(GradientShares, content)]}
    assert len(uses.tables(measured)) == 1
    assert uses.further_tables(measured)[0].head[2:] == ["1–10"]


def test_lines_of_an_experiment_have_the_looks_of_its_rows():
    found = record(**{"three-way": [records.gradients()]})
    picture, *_ = in_summary(found)
    assert [chart.title for chart in picture.charts] == [
        *("Gradient from the source input", "Gradient from the target input"),
        "Gradient from the output",
    ]
    (line,) = picture.charts[-1].series
    assert (line.name, line.look) == ("three-way", 1)
    assert [(point.x, point.y) for point in line.points] == [
        (0, 75),
        (100, pytest.approx(200 / 3)),
        (200, 50),
    ]


def test_a_line_is_the_mean_of_the_seeds():
    """Shares of 75 and 50 at the first update."""
    runs = [records.gradients(), records.gradients(output=(2.0, 2.0, 2.0))]
    picture, *_ = in_summary(record(2, **{"three-way": runs}))
    (line,) = picture.charts[-1].series
    assert line.points[0].y == pytest.approx(62.5)


def test_runs_measured_at_different_updates_have_a_line_each():
    longer = {**records.gradients(), "updates": [0, 150, 300]}
    picture, *_ = in_summary(record(2, **{"three-way": [records.gradients(), longer]}))
    assert [point.x for line in picture.charts[-1].series for point in line.points] == [
        *(0, 100, 200),
        *(0, 150, 300),
    ]


def test_a_model_alone_has_a_line_per_use():
    picture = uses.of_model("tied", shares())
    over, cosines, bands = picture.charts
    assert [one.name for one in over.series] == ["source input", "target input", "output"]
    assert [one.name for one in cosines.series] == ["source input and output"]
    assert all(len(one.points) == 2 for one in bands.series)


def test_learned_scales_are_a_sentence():
    found = record()
    scales = {"source input embedding": {"mean": 3.456, "sd": 0.1, "seeds": 2}}
    (first, second) = found.rows
    row = from_json(type(second), {**to_json(second), "input_scales": scales})
    (text,) = in_summary(replace(found, rows=[first, row], gradients=None))
    assert text == (
        "Learned scales of the lookups, as they ended: three-way: source input 3.46 ± 0.10."
    )


def test_what_is_no_row_or_too_short_is_refused():
    with pytest.raises(Fault, match="gradients of four-way, which is none of its rows"):
        record(**{"four-way": [records.gradients()]})
    with pytest.raises(Fault, match=r"gradients.three-way are not one per seed"):
        record(**{"three-way": [records.gradients()] * 2})
    short = records.gradients()
    short["cosines"] = {"a, b": [0.5]}
    with pytest.raises(Fault, match="does not have one value per measured update"):
        record(**{"three-way": [short]})

"""Tables and charts of benchmarks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.lab.benchmarks.compare import Measured, Side, compare
from scripts.lab.figures.benchmark import figures, summary_table
from scripts.lab.records.schema import BenchmarkRecord
from tiednmt.show import markdown
from tiednmt.typed import from_json


def record_of(**measured):
    about = {
        "kind": "benchmark",
        "experiment": "benchmark-some",
        "title": "work per second",
        "machine": {
            "device": "CPU",
            "processor": "Some CPU",
            "cores": 4,
            "threads_per_run": 1,
            "runs_side_by_side": 1,
            "python": "3.11.7",
        },
        "versions": {"torch": "2.13.0"},
        "command": "some command",
    }
    return from_json(BenchmarkRecord, {**about, **measured})


def test_parts_go_into_the_record_and_its_table():
    def side(name, milliseconds):
        parts = ({"forward": each, "rest": 10.0} for each in milliseconds)
        return Side(name, lambda: Measured(100, parts=next(parts)))

    measured = compare(side("a", [9, 30, 20, 40]), side("b", [9, 10, 10, 10]), runs=3)
    assert measured["ours"]["parts"] == {"forward": 30, "rest": 10}
    text = markdown.blocks(figures(record_of(**measured)).summary)
    assert "| forward | 30.0 (75%) | 10.0 (50%) |" in text
    assert "; 3 runs per side, alternating, 1 thread(s)" in text


def growth():
    """Two vocabularies, two lengths; for the larger one the other side had too little memory."""
    side = {"name": "a", "median": 1500, "runs": [1500], "memory": 2e9}
    ratio = {"median": 2.5, "min": 2.5, "max": 2.5}
    cells = []
    for length in (10, 20):
        sizes = {"length": length, "tokens": 4000}
        both = {"ours": side, "against": {**side, "name": "b"}, "ratio": ratio}
        cells += [{"vocabulary": 8, **sizes, **both}, {"vocabulary": 9, **sizes, "ours": side}]
    return record_of(ours={"name": "a"}, against={"name": "b"}, ratio=ratio, cells=cells)


def test_a_cell_without_a_side_is_shown():
    rows = markdown.blocks(figures(growth()).summary).splitlines()[2:4]
    assert rows[0] == "| 8 | 10 | 4,000 | 1,500 | 1,500 | 2.50 | 2.00 GB | 2.00 GB |  |"
    assert rows[1] == "| 9 | 10 | 4,000 | 1,500 | too little memory |  | 2.00 GB |  |  |"
    assert "2.50 (2.50–2.50)" in markdown.table(summary_table([growth()]))


@pytest.mark.parametrize(("device", "shown"), [("CPU", "AMD"), ("H100", "H100")])
def test_the_summary_names_the_machine_that_computed(device, shown):
    record = growth()
    machine = replace(record.machine, device=device, processor="AMD")
    row = markdown.table(summary_table([replace(record, machine=machine)])).splitlines()[2]
    assert f"| {shown} |" in row


def test_growth_is_drawn_by_side_and_vocabulary():
    (picture,) = figures(growth()).pictures
    assert picture.name == "growth"
    speed, _, memory, _ = picture.charts
    assert (speed.y.label, memory.y.label) == ("target tokens per second", "peak memory, GB")
    assert {series.name: [*map(tuple, series.points)] for series in speed.series} == {
        name: [(10, 1500, "", None), (20, 1500, "", None)]
        for name in ("a, vocabulary 8", "b, vocabulary 8", "a, vocabulary 9")
    }
    assert [series.dashed for series in speed.series] == [False, True, False]
    assert memory.series[0].points[0].y == 2.0

"""Tables of benchmarks."""

from __future__ import annotations

from scripts.lab.benchmarks.compare import Measured, Side, compare
from scripts.lab.show.markdown import benchmark_summary, benchmark_table

WHERE = {
    "what": "work a second",
    "machine": {"device": "CPU", "processor": "Some CPU", "threads_per_run": 1},
    "command": "some command",
}


def test_parts_go_into_the_record_and_its_table():
    def side(name, milliseconds):
        parts = ({"forward": each, "rest": 10.0} for each in milliseconds)
        return Side(name, lambda: Measured(100, parts=next(parts)))

    record = {
        **compare(side("a", [9, 30, 20, 40]), side("b", [9, 10, 10, 10]), runs=3),
        **WHERE,
    }
    assert record["ours"]["parts"] == {"forward": 30, "rest": 10}
    table = benchmark_table(record)
    assert "| forward | 30.0 (75%) | 10.0 (50%) |" in table


def test_a_cell_without_a_side_is_shown():
    sizes = {"length": 10, "tokens": 4000}
    side = {"median": 1500, "memory": 2e9}
    cells = [
        {"vocabulary": 8, **sizes, "ours": side, "against": side, "ratio": {"median": 2.5}},
        {"vocabulary": 9, **sizes, "ours": side},
    ]
    names = {"ours": {"name": "a"}, "against": {"name": "b"}}
    record = {**names, "ratio": {"median": 2.5, "min": 2.5, "max": 2.5}, "cells": cells, **WHERE}
    rows = benchmark_table(record).splitlines()[2:4]
    assert rows[0] == "| 8 | 10 | 4,000 | 1,500 | 1,500 | 2.50 | 2.00 GB | 2.00 GB |  |"
    assert rows[1] == "| 9 | 10 | 4,000 | 1,500 | too little memory |  | 2.00 GB |  |  |"
    assert "2.50 (2.50–2.50)" in benchmark_summary([record])

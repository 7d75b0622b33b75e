"""Two sides in turn, and what a process held; no test looks at a time."""

from __future__ import annotations

import sys

import pytest
import torch

from scripts.lab.benchmarks.compare import Measured, Side, compare, run_module


def test_sides_run_in_turn_and_the_first_pair_is_not_counted():
    order = []

    def side(name, speeds, memory):
        remaining = iter(speeds)

        def measure():
            order.append(name)
            return Measured(next(remaining), memory)

        return Side(name, measure)

    found = compare(side("a", [9, 30, 20, 40], 50), side("b", [1, 10, 10, 10], 200), runs=3)
    assert order == ["a", "b"] * 4
    assert found["ours"] == {"name": "a", "median": 30, "runs": [30, 20, 40], "memory": 50}
    assert found["ratio"] == {"median": 3, "min": 2, "max": 4}
    assert found["memory_ratio"] == {"median": 0.25, "min": 0.25, "max": 0.25}


@pytest.mark.skipif(sys.platform != "linux", reason="told by Linux alone")
@pytest.mark.skipif(torch.cuda.is_available(), reason="measured without a GPU")
def test_memory_is_the_most_that_a_module_held(tmp_path, monkeypatch):
    # it lives on for a moment, in which the mark that its memory left can be read
    code = "import time\nheld = bytearray(b'1' * 100_000_000)\ndel held\n"
    code += "print('the end', flush=True)\ntime.sleep(1)\n"
    (tmp_path / "holds_much.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    lines = []
    peak = run_module(["holds_much"], 1, tmp_path / "log", on_line=lines.append)
    assert lines == ["the end\n"]
    assert 1e8 < peak < 3e8

"""The cost of measuring gradients, with times that are given."""

from __future__ import annotations

import pytest

from scripts.lab.benchmarks import gradients
from scripts.lab.figures.benchmark import figures
from scripts.lab.records.schema import BenchmarkRecord
from tests.support.records import MACHINE
from tiednmt.show import markdown
from tiednmt.typed import from_json


def test_the_cost_of_a_measured_update_is_spread_over_all(monkeypatch, tmp_path):
    """200 ms an update, and 50, 100 and 150 more where measured, every tenth: 2.5% to 7.5%."""
    (tmp_path / "data-bin").mkdir()
    commands = []

    def printed(command, threads):
        commands.append((command, threads))
        return [(0.2, 0.05), (0.2, 0.1), (0.2, 0.15)]

    monkeypatch.setattr(gradients, "printed_by_module", printed)
    options = gradients.Gradients(data=tmp_path, every=10, threads=2, max_tokens=77)
    found = gradients.measure(options)
    assert found["ratio"] == {
        "median": pytest.approx(0.2 / 0.21, abs=1e-3),
        "min": pytest.approx(0.2 / 0.215, abs=1e-3),
        "max": pytest.approx(0.2 / 0.205, abs=1e-3),
    }
    assert found["against"]["runs"] == [5, 5, 5]
    assert found["ours"]["parts"] == {"without measuring": 200, "more, where measured": 100}
    assert found["ours"]["name"].endswith("--measure-gradients 10")
    ((command, threads),) = commands
    assert threads == 2 and command[0] == gradients.__name__
    assert command[command.index("--max-tokens") + 1] == "77" and "--every" not in command
    about = {"kind": "benchmark", "experiment": "e", "title": "t", "command": "c", "versions": {}}
    record = from_json(BenchmarkRecord, {**about, "machine": MACHINE, **found})
    text = markdown.blocks(figures(record).summary)
    assert "T; 3 batches, both sides from the same updates, 1 thread(s)" in text

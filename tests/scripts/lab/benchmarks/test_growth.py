"""Updates of growing size; no test looks at a time."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest

from scripts import benchmark
from scripts.lab.benchmarks import growth
from scripts.lab.benchmarks.growth import Cell, Growth
from scripts.lab.run.specs import ROOT
from tiednmt.options import add_options, from_arguments


def test_cells_cross_in_the_middle():
    cells = Growth(vocabulary=(9, 8), length=(10, 50, 200), tokens=(4, 1, 2)).cells()
    around = [(10, 2), (50, 2), (200, 2), (50, 1), (50, 4)]
    expected = [(vocabulary, *pair) for vocabulary in (8, 9) for pair in around]
    assert [tuple(cell.sizes.values()) for cell in cells] == expected


@pytest.mark.parametrize(
    "error", [MemoryError(), MemoryError("std::bad_alloc"), RuntimeError("can't allocate memory")]
)
def test_a_cell_without_enough_memory_is_empty(monkeypatch, error):
    def trainer(*_):
        raise error

    monkeypatch.setattr(growth, "_trainer", trainer)
    assert growth.measure_cell("ours", Cell(vocabulary=40, length=3, tokens=12)) == []


def test_another_fault_of_a_cell_is_told(monkeypatch):
    def trainer(*_):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(growth, "_trainer", trainer)
    with pytest.raises(RuntimeError, match="shapes"):
        growth.measure_cell("ours", Cell(vocabulary=40, length=3, tokens=12))


def test_the_record_of_growth(tmp_path, capsys, monkeypatch):
    """Both sides in this process: what their commands say is what they measure."""

    def in_this_process(command, threads):
        module, side, *words = command
        assert (module, threads) == (growth.__name__, 1)
        parser = argparse.ArgumentParser()
        add_options(parser, Cell)
        cell = from_arguments(Cell, parser.parse_args(words))
        assert (cell.tying, cell.sentences) == ("decoder", 4)
        return [asdict(measured) for measured in growth.measure_cell(side, cell)]

    monkeypatch.setattr(growth, "printed_by_module", in_this_process)
    words = ["growth", "--tying", "decoder", "--vocabulary", "40", "--length", "3"]
    words += ["--tokens", "12", "--updates", "2"]
    benchmark.main([*words, "--json", str(tmp_path / "growth.json")])
    record = json.loads((tmp_path / "growth.json").read_text(encoding="utf-8"))
    (cell,) = record["cells"]
    assert (cell["vocabulary"], cell["length"], cell["tokens"]) == (40, 3, 12)
    assert record["ours"]["name"] == "tied_gru --tying decoder, highest"
    rates = [cell[side]["runs"] for side in ("ours", "against")]
    assert [len(of_side) for of_side in rates] == [2, 2]
    ratios = [ours / against for ours, against in zip(*rates, strict=True)]
    assert cell["ratio"]["min"] == pytest.approx(min(ratios), rel=0.02)
    assert cell["ratio"]["max"] == pytest.approx(max(ratios), rel=0.02)
    assert record["ratio"]["median"] == cell["ratio"]["median"]
    assert f"`{record['command']}`" in capsys.readouterr().out
    assert (tmp_path / "growth.svg").stat().st_size > 0


def test_a_cell_that_does_not_fit():
    share = 8e8 / (os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    code = f"import scripts.lab.benchmarks.growth as growth; growth.MEMORY = {share}; growth.main()"
    sizes = ("--vocabulary=40000", "--length=50", "--tokens=8000", "--updates=1")
    command = [sys.executable, "-c", code, "against", *sizes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert json.loads(done.stdout) == []

"""The benchmark's arithmetic and its command line; no test looks at a time."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from torch import nn

from scripts.lab.baselines import joeynmt
from scripts.lab.benchmarks import growth
from scripts.lab.benchmarks.compare import Measured, Side, compare, run_module
from scripts.lab.benchmarks.output_layer import loss
from scripts.lab.benchmarks.profile import Stopwatch
from scripts.lab.show.markdown import benchmark_summary, benchmark_table
from tests.support.commandline import ROOT, run
from tiednmt.modules import OutputLayer


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
    code = "held = bytearray(b'1' * 100_000_000)\ndel held\nprint('the end')\n"
    (tmp_path / "holds_much.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    lines = []
    peak = run_module(["holds_much"], 1, tmp_path / "log", on_line=lines.append)
    assert lines == ["the end\n"]
    assert 1e8 < peak < 3e8


def test_both_output_layers_do_the_same_work():
    torch.manual_seed(1)
    layer = OutputLayer(nn.Embedding(30, 8))
    features, target = torch.randn(20, 8), torch.randint(2, 30, (20,))
    torch.testing.assert_close(
        loss("ours", layer, features, target), loss("plain", layer, features, target)
    )


def test_the_record_of_a_run(tmp_path):
    sizes = ("--tokens", 512, "--types", 20000, "--dim", 16, "--runs", 1)
    command = ("scripts.benchmark", "output-layer", *sizes, "--json", tmp_path / "record.json")
    printed = run("-m", *command).check().stdout
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert record["ratio"].keys() == record["memory_ratio"].keys() == {"median", "min", "max"}
    assert "--tokens 512 --types 20000 --dim 16 --runs 1 --threads 1`" in printed


def test_parts_do_not_count_what_is_inside_them():
    now = [0.0]
    watch = Stopwatch(clock=lambda: now[0])

    def work(seconds, inner=lambda: None):
        now[0] += seconds
        inner()
        now[0] += seconds

    inner = watch.timed("backward", work)
    now[0] += 3
    watch.timed("forward", work)(5, lambda: inner(2))
    watch.turn()
    spent = {part: seconds for part, seconds in watch.seconds.items() if seconds}
    assert spent == {"rest": 3, "forward": 10, "backward": 4}


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


def test_joeynmt_log():
    line = "- INFO - Epoch 1, Step: {}, Batch Loss: 1.5, Tokens per Sec: {}, Lr: 0.002\n"
    assert joeynmt.speeds_in(line.format(2, "    1234") + line.format(4, "  99")) == [1234, 99]


def test_joeynmt_trains_from_the_source_language_on_the_same_vocabulary(tmp_path):
    text, data_bin = tmp_path / "bpe", tmp_path / "data-bin"
    text.mkdir()
    data_bin.mkdir()
    (data_bin / "train.en-de.en.idx").touch()
    (data_bin / "dict.de.txt").write_text("eine 7\nzwei 3\n", encoding="utf-8")
    joeynmt.write_inputs(text, tmp_path, max_tokens=4000, updates=50)
    written = yaml.safe_load((tmp_path / "joeynmt.yaml").read_text(encoding="utf-8"))
    assert (written["data"]["src"]["lang"], written["data"]["trg"]["lang"]) == ("en", "de")
    assert (tmp_path / "vocabulary").read_text(encoding="utf-8") == "eine\nzwei\n"
    assert written["training"]["batch_size"] == 4000


def test_cells_cross_in_the_middle():
    args = argparse.Namespace(vocabulary=[9, 8], length=[10, 50, 200], tokens=[4, 1, 2])
    found = [tuple(cell.values()) for cell in growth.cells(args)]
    around = [(10, 2), (50, 2), (200, 2), (50, 1), (50, 4)]
    assert found == [(vocabulary, *pair) for vocabulary in (8, 9) for pair in around]


@pytest.mark.parametrize("side", ["ours", "against"])
def test_a_cell(side):
    sizes = {"vocabulary": 40, "length": 3, "tokens": 12, "updates": 2}
    models = {"tying": "three-way", "against": "lstm", "precision": "highest"}
    found = growth.measure_cell(argparse.Namespace(side=side, **sizes, **models))
    assert len(found["speeds"]) == 2
    assert min(found["speeds"]) > 0


def test_a_cell_that_does_not_fit():
    share = 8e8 / (os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    code = f"import scripts.lab.benchmarks.growth as growth; growth.MEMORY = {share}; growth.main()"
    sizes = ("--vocabulary=40000", "--length=50", "--tokens=8000", "--updates=1")
    command = [sys.executable, "-c", code, "against", *sizes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert json.loads(done.stdout) == {"speeds": [], "memory": None}


def test_the_record_of_growth(tmp_path):
    sizes = ("--vocabulary", 40, "--length", 3, "--tokens", 12, "--updates", 2)
    command = ("scripts.benchmark", "growth", *sizes, "--json", tmp_path / "growth.json")
    printed = run("-m", *command).check().stdout
    record = json.loads((tmp_path / "growth.json").read_text(encoding="utf-8"))
    (cell,) = record["cells"]
    assert (cell["vocabulary"], cell["length"], cell["tokens"]) == (40, 3, 12)
    for side in ("ours", "against"):
        assert len(cell[side]["runs"]) == 2
    assert record["ratio"]["median"] == cell["ratio"]["median"]
    assert "--vocabulary 40 --length 3 --tokens 12 --updates 2 --tying three-way" in printed
    assert (tmp_path / "growth.svg").stat().st_size > 0


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


WHERE = {
    "what": "work a second",
    "machine": {"device": "CPU", "processor": "Some CPU", "threads_per_run": 1},
    "command": "some command",
}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--data", "nowhere"), "--data nowhere: no data-bin there; prepare it with"),
        (
            ("train", "--data", "{prepared}", "--against", "joeynmt", "--joeynmt-python", "no"),
            "no cannot import joeynmt; install it there",
        ),
        (("generate", "--run", "nowhere"), "--run nowhere: no data/data-bin there; train it with"),
    ],
)
def test_bad_input(arguments, message, tmp_path):
    (tmp_path / "data-bin").mkdir()
    arguments = [argument.format(prepared=tmp_path) for argument in arguments]
    done = run("-m", "scripts.benchmark", *arguments)
    assert done.status != 0
    assert message in done.stderr
    assert done.stderr.count("\n") == 1

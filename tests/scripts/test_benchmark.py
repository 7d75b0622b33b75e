"""The benchmark's arithmetic and its command line; no test looks at a time."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from scripts.benchmarks.output_layer import loss
from scripts.benchmarks.sides import Measured, Side, compare
from tests.integration.commandline import run
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--data", "nowhere"), "--data nowhere: no data-bin there; prepare it with"),
        (("generate", "--run", "nowhere"), "--run nowhere: no data/data-bin there; train it with"),
    ],
)
def test_bad_input(arguments, message):
    done = run("-m", "scripts.benchmark", *arguments)
    assert done.status != 0
    assert message in done.stderr
    assert done.stderr.count("\n") == 1

"""Updates of two trainers in turn: on the same batches, after rounds that are not counted."""

import pytest

from scripts.lab.benchmarks import roofline, updates
from scripts.lab.benchmarks.updates import Updated, Updates
from scripts.lab.records.schema import BenchmarkRecord
from tests.support.records import MACHINE
from tiednmt.errors import UserError
from tiednmt.typed import from_json


def test_rounds_go_over_all_batches():
    trained = []

    class Trainer:
        def begin_epoch(self, epoch):
            trained.append(epoch)

        def train_step(self, batches):
            trained.extend(batches)

    batches = [{"ntokens": 3}, {"ntokens": 4}]
    side = Updated(Trainer(), batches)
    assert side.seconds() >= 0 and side.seconds() >= 0
    assert trained == [1, *batches, *batches] and side.tokens == 7


@pytest.mark.parametrize(("ours", "theirs"), [("medium", "highest"), ("bf16", "bf16")])
def test_the_other_side_is_named_by_its_own_precision(ours, theirs, tmp_path):
    (tmp_path / "data-bin").mkdir()
    options = Updates(data=tmp_path, precision=ours)
    assert options.stock_name == f"fairseq lstm --share-all-embeddings, {theirs}"


def test_two_rows_of_an_experiment_are_compared(tmp_path):
    (tmp_path / "data-bin").mkdir()
    rows = {"row": "three-way x 4", "against_row": "three-way"}
    options = Updates(data=tmp_path, experiment="demo-input-scale", max_tokens=300, **rows)
    (name, ours), (other, theirs) = options.sides()
    assert name == "three-way x 4: tied_gru_tiny --tying three-way, highest"
    assert other == "three-way: tied_gru_tiny --tying three-way, highest"
    assert (ours["model"]["input_scale"], theirs["model"]["input_scale"]) == ("4", "1")
    assert ours["dataset"]["max_tokens"] == theirs["dataset"]["max_tokens"] == 300
    with pytest.raises(UserError, match="--against-row no: demo-input-scale has only"):
        Updates(data=tmp_path, experiment="demo-input-scale", against_row="no").sides()


def test_ratios_are_taken_round_by_round(monkeypatch, tmp_path):
    (tmp_path / "data-bin").mkdir()
    printed = {
        "ours": [200.0, 300.0, 100.0],
        "against": [100.0, 100.0, 100.0],
        "warm_up": {"ours": [9.0, 5.0, 1.0], "against": [3.0, 3.0, 3.0]},
    }
    machine = {
        "gflops_per_second": {"highest": 5.0, "single": 8.0, "bf16": 20.0},
        "copy_gigabytes_per_second": 7.0,
        "gflops_per_token": 0.02,
    }
    monkeypatch.setattr(updates, "printed_by_module", lambda command, threads: printed)
    monkeypatch.setattr(roofline, "printed_by_module", lambda command, threads: machine)
    found = updates.measure(Updates(data=tmp_path, cuda_graphs=True, precision="bf16"))
    assert found["ratio"] == {"median": 2, "min": 1, "max": 3}
    assert found["ours"]["warm_up"] == [9.0, 5.0, 1.0]
    assert found["ours"]["name"].endswith("bf16, --cuda-graphs")
    assert found["against"]["name"] == "fairseq lstm --share-all-embeddings, bf16"
    # 200 tokens per second, of 20 MFLOP each, are 4 GFLOP/s
    assert (found["limit"]["share"], found["limit"]["share_of_single"]) == (0.2, 0.5)
    about = {"kind": "benchmark", "experiment": "e", "title": "t", "command": "c", "versions": {}}
    from_json(BenchmarkRecord, {**about, "machine": MACHINE, **found})

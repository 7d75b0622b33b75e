"""What happens around an update of the weights."""

from __future__ import annotations

import math

import pytest
import torch
from fairseq.dataclass.configs import EMAConfig
from fairseq.models.ema.ema import EMA

import tiednmt.plugin  # noqa: F401
from tests.support.small_models import model
from tests.support.small_training import train


@pytest.mark.parametrize("fp32", [False, True])
def test_a_scale_that_is_not_learned_stays_in_an_average(fp32, caplog):
    """The mean of equal numbers is rounded, and again in each update."""
    caplog.set_level("INFO")
    built = model(dtype=torch.float32, input_scale="sqrt-dim")
    average = EMA(built, EMAConfig(store_ema=True, ema_decay=0.9999, ema_fp32=fp32))
    for update in range(1, 301):
        average.step(built, update)
    scale = average.get_model().encoder.input_scale.value
    assert scale == pytest.approx(math.sqrt(6), rel=1e-7)
    if fp32:
        (stored,) = {float(v) for n, v in average.fp32_params.items() if n.endswith("constant")}
        assert stored == pytest.approx(math.sqrt(6), rel=1e-7)
    assert "lookups are scaled" not in caplog.text


@pytest.mark.parametrize("fp32", [False, True])
def test_an_average_begins_with_the_weights_of_a_checkpoint_that_has_none(data, tmp_path, fp32):
    """fairseq means to start so, but has forgotten the weights by then."""
    start = train(data, tmp_path / "start", optimization={"max_update": 2})
    given = {"store_ema": True, "ema_decay": 1.0, "ema_fp32": fp32}  # which stays as it starts
    for started in ({"restore_file": str(start)}, {"finetune_from_model": str(start)}):
        folder = tmp_path / next(iter(started))
        path = train(data, folder, optimization={"max_update": 4}, ema=given, checkpoint=started)
        state, before = torch.load(path), torch.load(start)["model"]
        assert state["optimizer_history"][-1]["num_updates"] == 4
        for part in ("ema", *(("ema_fp32_params",) if fp32 else ())):
            for name, weight in state["extra_state"][part].items():
                assert torch.equal(weight, before[name]), name


def averaging(data, folder, epochs):
    """A training by NT-ASGD at a rate that is too high, so that validation soon gets worse."""
    schedule = {"_name": "tied_non_monotonic", "non_monotone_interval": 0, "lr": [20.0]}
    return train(
        data,
        folder,
        optimizer={"_name": "tied_averaged_sgd"},
        lr_scheduler={**schedule, "maximize_best_checkpoint_metric": False},
        optimization={"lr": [20.0], "max_epoch": epochs},
        dataset={"update_epoch_batch_itr": True},  # the order of batches is that of the epoch
    )


@pytest.fixture(scope="module")
def at_one_go(data, tmp_path_factory):
    return torch.load(averaging(data, tmp_path_factory.mktemp("whole"), 4))


@pytest.mark.parametrize("first", [1, 2])
def test_a_resumed_run_averages_from_the_same_epoch(data, at_one_go, tmp_path, first):
    """fairseq saves before it tells the scheduler how the epoch was validated."""
    averaging(data, tmp_path, first)
    resumed = torch.load(averaging(data, tmp_path, 4))
    schedules = (run["optimizer_history"][-1]["lr_scheduler_state"] for run in (at_one_go, resumed))
    one, other = (schedule["losses"] for schedule in schedules)
    assert one == other and len(one) == 3
    updates = [
        run["last_optimizer_state"]["param_groups"][0]["averaged"] for run in (at_one_go, resumed)
    ]
    assert updates[0] == updates[1] > 0
    for name, weight in at_one_go["model"].items():
        assert torch.equal(weight, resumed["model"][name]), name


def waiting(data, folder, epochs):
    """A training at a rate that is too high, which is halved after two bad epochs."""
    schedule = {"_name": "reduce_lr_on_plateau", "lr_shrink": 0.5, "lr_patience": 1}
    more = {"lr_threshold": 1e-4, "warmup_updates": 0, "warmup_init_lr": -1.0, "lr": [20.0]}
    return train(
        data,
        folder,
        optimizer={"_name": "sgd", "momentum": 0.0, "weight_decay": 0.0},
        lr_scheduler={**schedule, **more, "maximize_best_checkpoint_metric": False},
        optimization={"lr": [20.0], "max_epoch": epochs},
        dataset={"update_epoch_batch_itr": True},
    )


@pytest.mark.parametrize("first", [2, 3, 4])
def test_a_resumed_run_lowers_its_rate_at_the_same_epoch(data, tmp_path, first):
    """fairseq forgets the validation before the checkpoint, and how many were no better."""
    one = torch.load(waiting(data, tmp_path / "whole", 6))
    waiting(data, tmp_path / "parts", first)
    other = torch.load(waiting(data, tmp_path / "parts", 6))
    rates = [run["last_optimizer_state"]["param_groups"][0]["lr"] for run in (one, other)]
    assert rates[0] == rates[1] < 20
    schedules = [run["optimizer_history"][-1]["lr_scheduler_state"] for run in (one, other)]
    assert schedules[0] == schedules[1]
    for name, weight in one["model"].items():
        assert torch.equal(weight, other["model"][name]), name

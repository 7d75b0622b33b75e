"""Training ends where it was told, and what cannot work is refused at once."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.optim.adafactor import Adafactor
from fairseq.optim.adam import FairseqAdam
from fairseq.optim.lr_scheduler.pass_through import PassThroughScheduleSchedule
from fairseq.trainer import Trainer
from fairseq_cli import generate, interactive
from fairseq_cli import train as fairseq_train
from omegaconf import OmegaConf

from tests.support.small_training import train, write_corpus
from tiednmt.errors import UserError, explain
from tiednmt.training_end import (
    end_where_told,
    refuse_what_cannot_work,
    share_gradients_on_cpus,
    stop_loading_at_exit,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def _fresh():
    """fairseq counts validations in the process, which runs one training otherwise."""
    vars(fairseq_train.should_stop_early).clear()


def weights(path):
    return torch.load(path)["model"]


def updates(path):
    return torch.load(path)["optimizer_history"][-1]["num_updates"]


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "patch",
    [end_where_told, refuse_what_cannot_work, stop_loading_at_exit, share_gradients_on_cpus],
)
def test_each_may_be_applied_any_number_of_times(patch):
    def patched():
        return (
            *(checkpoint_utils.load_checkpoint, Trainer.save_checkpoint, Trainer.__init__),
            *(distributed_utils.call_main, distributed_utils.infer_init_method),
        )

    before = patched()
    patch()
    assert patched() == before


def test_a_finished_run_that_is_started_again_is_left_as_it_is(data, tmp_path):
    parts = {"optimization": {"max_update": 6}, "checkpoint": {"save_interval_updates": 3}}
    path = train(data, tmp_path, **parts)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert updates(path) == 6
    train(data, tmp_path, **parts)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_run_that_was_told_to_go_on_goes_on(data, tmp_path):
    def until(update, folder):
        anew = {"update_epoch_batch_itr": True}
        return train(data, tmp_path / folder, optimization={"max_update": update}, dataset=anew)

    until(5, "parts")
    path = until(9, "parts")
    assert updates(path) == 9
    whole = until(9, "whole")
    assert same(weights(path), weights(whole))


def test_a_run_that_starts_from_a_finished_one_is_trained(data, tmp_path):
    first = train(data, tmp_path / "first", optimization={"max_update": 5})
    fine = {"finetune_from_model": str(first)}
    path = train(data, tmp_path / "second", checkpoint=fine, optimization={"max_update": 2})
    assert updates(path) == 2
    assert not same(weights(path), weights(first))


def patient(data, folder, patience, epochs):
    return train(
        data,
        folder,
        optimization={"max_epoch": epochs},
        lr_scheduler={"lr": [0.0]},
        checkpoint={"patience": patience},
    )


def test_patience_is_counted_over_interruptions(data, tmp_path):
    path = patient(data, tmp_path, 3, 2)  # no better once
    vars(fairseq_train.should_stop_early).clear()  # as in another process
    patient(data, tmp_path, 3, 9)
    assert updates(path) == 4 * 4  # epochs of four batches: the best one and three no better
    before = path.read_bytes()
    vars(fairseq_train.should_stop_early).clear()
    patient(data, tmp_path, 3, 9)
    assert path.read_bytes() == before


def test_other_batches_in_the_middle_of_an_epoch_are_told(data, tmp_path, caplog):
    train(data, tmp_path, optimization={"max_update": 2})
    with caplog.at_level(logging.WARNING, "tiednmt"):
        train(data, tmp_path, optimization={"max_update": 3})
        assert "--batch-size" not in caplog.text
        train(data, tmp_path, optimization={"max_update": 4}, dataset={"batch_size": 2})
    assert "--batch-size" in caplog.text


@pytest.mark.parametrize(
    ("parts", "option"),
    [
        ({"common": {"fp16": True}}, "--fp16"),
        ({"common": {"bf16": True, "tpu": True}}, "--bf16"),
    ],
)
def test_what_needs_a_gpu_is_refused_without_one(parts, option, data, tmp_path):
    with pytest.raises(UserError, match=option):
        train(data, tmp_path, optimization={"max_update": 1}, **parts)


def test_torchrun_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="--distributed-world-size"):
        distributed_utils.infer_init_method(OmegaConf.create({}))


OFF = {"diverse_beam_groups": -1, "print_step": False, "constraints": None}


@pytest.mark.parametrize(
    ("generation", "scoring", "option"),
    [
        ({"diverse_beam_groups": 2}, "bleu", "--diverse-beam-groups"),
        ({"print_step": True}, "bleu", "--print-step"),
        ({"constraints": "ordered"}, "bleu", "--constraints"),
        ({}, "wer", "--scoring wer"),
    ],
)
def test_what_fails_for_every_model_is_refused(generation, scoring, option, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    cfg = OmegaConf.create(
        {
            "generation": {**OFF, **generation},
            "scoring": {"_name": scoring},
            "task": {"_name": "translation"},
            "distributed_training": {"distributed_init_method": None},
        }
    )
    with pytest.raises(UserError, match=option):
        distributed_utils.call_main(cfg, generate.main)


def test_constraints_go_with_fairseq_interactive(monkeypatch):
    cfg = OmegaConf.create(
        {
            "generation": {**OFF, "constraints": "ordered"},
            "scoring": {"_name": "bleu"},
            "task": {"_name": "translation"},
            "common": {"tpu": False},
            "distributed_training": {"distributed_init_method": None},
        }
    )
    monkeypatch.setattr(distributed_utils, "infer_init_method", lambda cfg: None)
    begun = []

    def main(cfg):
        begun.append(cfg)

    main.__module__ = interactive.__name__
    distributed_utils.call_main(cfg, main)
    assert begun == [cfg]


def explained(data, tmp_path, **parts):
    """The line that the command would end with."""
    with pytest.raises(Exception) as raised:  # noqa: PT011  fairseq's are of several kinds
        train(data, tmp_path, optimization={"max_update": 1}, **parts)
    return explain(raised.value)


@pytest.mark.parametrize(
    ("parts", "option"),
    [
        (
            {"task": {"max_source_positions": 2, "max_target_positions": 2}},
            "--skip-invalid-size-inputs-valid-test",
        ),
        (
            {
                "task": {"max_source_positions": 0, "max_target_positions": 0},
                "dataset": {"skip_invalid_size_inputs_valid_test": True},
            },
            "--max-source-positions",
        ),
        ({"dataset": {"max_tokens_valid": 3, "batch_size_valid": None}}, "--max-tokens 3"),
    ],
)
def test_sentences_that_are_too_long_are_one_line(parts, option, data, tmp_path):
    assert option in (explained(data, tmp_path, **parts) or "")


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: Adafactor([torch.zeros(2)], lr=0.1, relative_step=True), "--relative-step"),
        (
            lambda: PassThroughScheduleSchedule(SimpleNamespace(), object.__new__(FairseqAdam)),
            "--lr-scheduler pass_through",
        ),
    ],
)
def test_what_fairseq_refuses_by_name_is_one_line(make, option):
    with pytest.raises((ValueError, AssertionError)) as raised:
        make()
    assert option in (explain(raised.value) or "")


STOPPED_WITHIN_AN_EPOCH = """
import torch
from fairseq.data.iterators import BufferedIterator
import tiednmt.plugin

class Batches:
    def __len__(self):
        return 1000
    def __iter__(self):
        while True:
            yield torch.zeros(2, 1000, 1000).cumsum(0)

next(BufferedIterator(3, Batches()))
"""


def test_a_process_ends_well_while_batches_are_loaded_ahead():
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_WITHIN_AN_EPOCH], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, "terminate called" in done.stderr) == (0, False)

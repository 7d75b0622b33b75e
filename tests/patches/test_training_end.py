"""Training ends where it was told, and goes on where it ended."""

from __future__ import annotations

import logging

import torch

from tests.support.small_training import train


def weights(path):
    return torch.load(path)["model"]


def updates(path):
    return torch.load(path)["optimizer_history"][-1]["num_updates"]


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


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
    patient(data, tmp_path, 3, 9)
    assert updates(path) == 4 * 4  # epochs of four batches: the best one and three no better
    before = path.read_bytes()
    patient(data, tmp_path, 3, 9)
    assert path.read_bytes() == before


def test_another_metric_has_a_best_checkpoint_of_its_own(data, tmp_path, caplog):
    """A perplexity is never as low as the loss that was the best so far."""

    def until(epoch, metric):
        best = {"best_checkpoint_metric": metric, "patience": 1}
        train(data, tmp_path, optimization={"max_epoch": epoch}, checkpoint=best)
        return torch.load(tmp_path / "checkpoint_best.pt")["extra_state"]["val_loss"]

    loss = until(1, "loss")
    with caplog.at_level(logging.WARNING, "tiednmt"):
        perplexity = until(2, "ppl")
    assert updates(tmp_path / "checkpoint_best.pt") == 2 * 4
    assert perplexity > loss
    assert "--best-checkpoint-metric was loss and is ppl" in caplog.text


def test_a_training_knows_nothing_of_the_one_before_it_in_the_process(data, tmp_path):
    """As in a sweep of hydra, whose second job has had neither a best checkpoint nor patience."""

    def best_of(name, rate):
        train(
            data,
            tmp_path / name,
            optimization={"max_epoch": 3},
            lr_scheduler={"lr": [rate]},
            checkpoint={"patience": 2},
        )
        return torch.load(tmp_path / name / "checkpoint_best.pt")["extra_state"]["best"]

    assert best_of("learns", 0.01) < best_of("stays", 0.0)
    assert updates(tmp_path / "stays" / "checkpoint_last.pt") == 3 * 4


def test_other_batches_in_the_middle_of_an_epoch_are_told(data, tmp_path, caplog):
    train(data, tmp_path, optimization={"max_update": 2})
    with caplog.at_level(logging.WARNING, "tiednmt"):
        train(data, tmp_path, optimization={"max_update": 3})
        assert "--batch-size" not in caplog.text
        train(data, tmp_path, optimization={"max_update": 4}, dataset={"batch_size": 2})
    assert "--batch-size" in caplog.text

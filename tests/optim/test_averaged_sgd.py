"""Averaged SGD beside torch's SGD and a plain mean of its iterates; when averaging starts."""

from __future__ import annotations

import copy

import pytest
import torch
from omegaconf import OmegaConf

from tiednmt.errors import UserError
from tiednmt.optim.averaged_sgd import AveragedSGD
from tiednmt.optim.nt_asgd import (
    TiedAveragedSGD,
    TiedAveragedSGDConfig,
    TiedNonMonotonic,
    TiedNonMonotonicConfig,
)

FROM, UPDATES = 3, 8  # averaging begins with the weights after so many updates
SETTINGS = {"lr": 0.3, "weight_decay": 0.01}


def start():
    torch.manual_seed(4)
    shapes = (5, 3), (7,)
    return [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]


def update(optimizer, parameters, number):
    torch.manual_seed(number)
    optimizer.zero_grad()
    loss = sum((p - torch.randn_like(p)).square().sum() for p in parameters)
    loss.backward()
    optimizer.step()


def iterates():
    """The weights after each update of torch's own SGD."""
    parameters = start()
    optimizer, after = torch.optim.SGD(parameters, **SETTINGS), []
    for number in range(UPDATES):
        update(optimizer, parameters, number)
        after.append([p.detach().clone() for p in parameters])
    return after


def averaging(updates, parameters, optimizer, first=0):
    for number in range(first, updates):
        update(optimizer, parameters, number)
        if number + 1 == FROM:
            optimizer.start_averaging()


def test_the_mean_of_the_iterates():
    parameters = start()
    optimizer = AveragedSGD(parameters, **SETTINGS)
    averaging(UPDATES, parameters, optimizer)
    expected = iterates()
    torch.testing.assert_close(parameters, expected[-1])
    optimizer.show_average(True)
    means = [torch.stack(each).mean(0) for each in zip(*expected[FROM - 1 :], strict=True)]
    torch.testing.assert_close([p.detach() for p in parameters], means)
    optimizer.show_average(True)  # as it is
    torch.testing.assert_close([p.detach() for p in parameters], means)
    optimizer.show_average(False)
    torch.testing.assert_close([p.detach() for p in parameters], expected[-1])


def test_before_it_starts_both_are_one():
    parameters = start()
    optimizer = AveragedSGD(parameters, **SETTINGS)
    update(optimizer, parameters, 0)
    optimizer.show_average(True)
    torch.testing.assert_close([p.detach() for p in parameters], iterates()[0])
    assert not optimizer.averages


def test_it_goes_on_from_a_state_that_was_saved_with_the_average():
    parameters = start()
    optimizer = AveragedSGD(parameters, **SETTINGS)
    averaging(5, parameters, optimizer)
    optimizer.show_average(True)
    state, weights = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in parameters]
    others = [weight.requires_grad_() for weight in weights]
    another = AveragedSGD(others, **SETTINGS)
    another.load_state_dict(state)
    another.show_average(False)  # the trainer does so before each update
    averaging(UPDATES, others, another, first=5)
    another.show_average(True)
    expected = iterates()
    means = [torch.stack(each).mean(0) for each in zip(*expected[FROM - 1 :], strict=True)]
    torch.testing.assert_close([p.detach() for p in others], means)


def schedule(interval, maximize=False, rates=(30.0,)):
    config = OmegaConf.create({**vars(TiedAveragedSGDConfig()), "lr": [30.0]})
    optimizer = TiedAveragedSGD(config, start())
    options = {
        **vars(TiedNonMonotonicConfig()),
        "non_monotone_interval": interval,
        "maximize_best_checkpoint_metric": maximize,
        "lr": list(rates),
    }
    return TiedNonMonotonic(OmegaConf.create(options), optimizer)


# validation losses, and the epoch after which n = 0, 1, 2 and 5 average: the first whose loss is
# above the least of those more than n epochs older
LOSSES = [9.0, 5.0, 6.0, 5.5, 4.0, 4.5, 4.4, 4.3, 4.2, 4.1, 4.05]


@pytest.mark.parametrize(("interval", "epoch"), [(0, 3), (1, 4), (2, 8), (5, 11), (6, None)])
def test_when_averaging_starts(interval, epoch):
    scheduler = schedule(interval)
    started = []
    for number, loss in enumerate(LOSSES, start=1):
        before = list(scheduler.losses)
        scheduler.step(number, loss)
        scheduler.step(number, None)  # an epoch without validation
        restored = schedule(interval)
        restored.load_state_dict(scheduler.state_dict())
        assert restored.losses == [*before, loss]
        if scheduler.optimizer.optimizer.averages:
            started.append(number)
    assert (started[0] if started else None) == epoch
    assert scheduler.optimizer.get_lr() == 30


def test_a_score_is_better_if_it_is_higher():
    """``--best-checkpoint-metric bleu --maximize-best-checkpoint-metric``."""
    scheduler = schedule(2, maximize=True)
    for epoch, bleu in enumerate([10.0, 20.0, 25.0, 27.0, 26.0, 24.0], start=1):
        scheduler.step(epoch, bleu)
        assert scheduler.optimizer.optimizer.averages == (bleu == 24.0)


def test_another_optimizer_is_refused():
    with pytest.raises(UserError, match="goes with --optimizer tied_averaged_sgd"):
        TiedNonMonotonic(OmegaConf.create({"non_monotone_interval": 5}), None)


def test_a_run_goes_on_at_the_rate_that_it_is_given():
    """The state of its optimizer has the rate that it had before."""
    scheduler = schedule(5)
    scheduler.optimizer.set_lr(7.0)
    assert scheduler.step_update(1) == 30 == scheduler.optimizer.get_lr()


def test_several_rates_are_refused():
    with pytest.raises(UserError, match=r"--lr 30\.0,15\.0: .*keeps one rate"):
        schedule(5, rates=(30.0, 15.0))

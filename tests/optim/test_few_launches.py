"""Updates over lists of parameters, beside fairseq's own, parameter by parameter."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from fairseq import utils
from fairseq.optim.adam import Adam
from fairseq.optim.fp16_optimizer import FP16Optimizer

import tiednmt.plugin  # noqa: F401
from tiednmt.optim import few_launches

one_by_one = Adam.step.__wrapped__
SHAPES = [(3, 4), (7,), (), (2, 3, 5)] * 30  # more than one launch takes


def parameters(dtype):
    torch.manual_seed(1)
    return [torch.nn.Parameter(torch.randn(shape).to(dtype)) for shape in SHAPES]


def trained(step, dtype=torch.float32, updates=range(6), optimizer=None, **options):
    if optimizer is None:
        optimizer = Adam(parameters(dtype), lr=0.01, betas=(0.9, 0.98), **options)
    weights = [*optimizer.param_groups[0]["params"]]
    for update in updates:
        torch.manual_seed(update)
        for i, weight in enumerate(weights):
            # some have no gradient at first, so that they have had fewer updates
            absent = i % 7 == 3 and update < 2
            weight.grad = None if absent else torch.randn_like(weight)
        step(optimizer)
    return optimizer


def assert_equal(one, other):
    for a, b in zip(one.param_groups[0]["params"], other.param_groups[0]["params"], strict=True):
        assert torch.equal(a, b)
        assert one.state[a].keys() == other.state[b].keys()
        for name, value in one.state[a].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other.state[b][name]))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adam_has_the_bits_of_fairseqs(dtype, weight_decay):
    options = {"dtype": dtype, "weight_decay": weight_decay}
    assert_equal(trained(few_launches.step, **options), trained(one_by_one, **options))


def test_adam_goes_on_from_the_other():
    whole, started = trained(one_by_one), trained(one_by_one, updates=range(3))
    assert_equal(trained(few_launches.step, updates=range(3, 6), optimizer=started), whole)


@pytest.mark.parametrize("options", [{"dtype": torch.bfloat16}, {"amsgrad": True}])
def test_what_it_is_not_for_is_left_to_fairseqs(options):
    assert_equal(trained(Adam.step, **options), trained(one_by_one, **options))
    assert not few_launches.goes_over_lists(trained(one_by_one, **options))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_of_the_gradient(dtype):
    weights = [*trained(one_by_one, dtype).param_groups[0]["params"]]
    together = torch.cat([weight.grad.double().flatten() for weight in weights])
    before = copy.deepcopy([weight.grad for weight in weights])
    norm = utils.clip_grad_norm_(weights, 0.5)
    assert norm.dtype == torch.float32
    assert norm.item() == pytest.approx(together.norm().item(), rel=1e-6)
    for weight, grad in zip(weights, before, strict=True):
        expected = (grad.double() * 0.5 / together.norm()).to(dtype)
        torch.testing.assert_close(weight.grad, expected)


def copied(gradients, to_single, to_half):
    """Parameters in bfloat16 and their copies, as fairseq's optimizer has them, after an update."""
    halves = parameters(torch.bfloat16)
    halves[2].requires_grad_(False)
    singles = FP16Optimizer.build_fp32_params(None, halves, flatten=False)
    optimizer = SimpleNamespace(
        fp16_params=halves, fp32_params=singles, has_flat_params=False, _needs_sync=True
    )
    torch.manual_seed(2)
    for i, half in enumerate(halves):
        if half.requires_grad and (gradients or i % 2):
            half.grad = torch.randn_like(half)
    to_single(optimizer)
    assert not optimizer._needs_sync
    to_single(optimizer)  # once an update
    for single in singles:
        single.data.add_(single.grad, alpha=-0.1)
    to_half(optimizer)
    return [*halves, *singles, *(single.grad for single in singles)]


@pytest.mark.parametrize("gradients", [True, False], ids=["all gradients", "some"])
def test_copies_between_dtypes_are_fairseqs(gradients):
    names = "_sync_fp16_grads_to_fp32", "_sync_fp32_params_to_fp16"
    ours = [getattr(FP16Optimizer, name) for name in names]
    theirs = [one.__wrapped__ for one in ours]
    one, other = copied(gradients, *ours), copied(gradients, *theirs)
    assert all(map(torch.equal, one, other))
    assert not torch.equal(one[1], parameters(torch.bfloat16)[1])

"""Loss and gradients without the scores, against torch's cross-entropy over all scores."""

import gc
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.support.commandline import run
from tiednmt.modules.cross_entropy import linear_cross_entropy

pytestmark = pytest.mark.usefixtures("cpu_path")

PAD = 1


def inputs(tokens, types, dim, dtype=torch.float64):
    """Features, weight, bias and targets, of which a few are padding."""
    torch.manual_seed(3)
    sizes = (tokens, dim), (types, dim), (types,)
    tensors = [torch.randn(size).to(dtype).requires_grad_() for size in sizes]
    target = torch.randint(0, types, (tokens,))
    target[2::5] = PAD
    return *tensors, target


def plain(features, weight, bias, target, epsilon):
    """fairseq's ε, over the other types, is torch's ε·V/(V − 1), over all."""
    types = len(weight)
    scores = F.linear(features, weight, bias)
    return F.cross_entropy(
        scores,
        target,
        ignore_index=PAD,
        reduction="sum",
        label_smoothing=epsilon * types / (types - 1),
    )


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize(
    ("tokens", "types", "dim"),
    [(1, 2, 1), (3, 5, 2), (321, 30_000, 3), (1153, 22_000, 2)],  # chunks of 320 and of 381 tokens
)
def test_values_and_gradients(tokens, types, dim, epsilon):
    *tensors, target = inputs(tokens, types, dim)
    ours, nll = linear_cross_entropy(*tensors, target, PAD, epsilon)
    expected = plain(*tensors, target, epsilon)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(nll, plain(*tensors, target, 0.0).detach(), rtol=1e-12, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(3 * ours, tensors),
        torch.autograd.grad(3 * expected, tensors),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tokens", [0, 4])
def test_nothing_counts(tokens):
    *tensors, target = inputs(tokens, 7, 3)
    loss, nll = linear_cross_entropy(*tensors, target.fill_(PAD), PAD, 0.1)
    assert loss.item() == nll.item() == 0
    assert not any(gradient.any() for gradient in torch.autograd.grad(loss, tensors))


@pytest.mark.parametrize("padding", [-100, 7, 10**6])
def test_padding_may_be_outside_of_the_vocabulary(padding, cpu_path):
    *tensors, target = inputs(9, 7, 3)
    outside = target.masked_fill(target.eq(PAD), padding)
    expected, loss = (
        linear_cross_entropy(*tensors, given, index, 0.1).loss
        for given, index in ((target, PAD), (outside, padding))
    )
    torch.testing.assert_close(loss, expected)
    for gradient, wanted in zip(
        torch.autograd.grad(loss, tensors), torch.autograd.grad(expected, tensors), strict=True
    ):
        torch.testing.assert_close(gradient, wanted)


def test_padding_takes_no_part():
    features, weight, bias, target = inputs(9, 7, 3)
    counted = target.ne(PAD)
    (all_of_it,) = torch.autograd.grad(
        linear_cross_entropy(features, weight, bias, target, PAD, 0.1).loss, features
    )
    assert not all_of_it[~counted].any()
    some = features.detach()[counted].requires_grad_()
    left = linear_cross_entropy(some, weight, bias, target[counted], PAD, 0.1).loss
    torch.testing.assert_close(torch.autograd.grad(left, some)[0], all_of_it[counted])


@pytest.mark.parametrize("frozen", [{0}, {1}, {2}, {0, 2}, {1, 2}])
def test_frozen_inputs(frozen):
    *tensors, target = inputs(6, 7, 3)
    expected = torch.autograd.grad(plain(*tensors, target, 0.1), tensors)
    for i in frozen:
        tensors[i].requires_grad_(False)
    linear_cross_entropy(*tensors, target, PAD, 0.1).loss.backward()
    for i, tensor in enumerate(tensors):
        if i in frozen:
            assert tensor.grad is None
        else:
            torch.testing.assert_close(tensor.grad, expected[i])


def test_large_scores_do_not_overflow():
    features, weight, bias, target = inputs(5, 9, 4, torch.float32)
    features = (1e4 * features).detach()
    loss = linear_cross_entropy(features, weight, bias, target, PAD).loss
    assert loss.item() == pytest.approx(plain(features, weight, bias, target, 0.0).item(), rel=1e-6)


def test_a_type_that_is_ruled_out():
    """By a bias of −∞: it has no probability, and takes part in no sum."""
    *tensors, target = inputs(9, 6, 4)
    ruled_out = next(v for v in range(6) if v != PAD and v not in target)
    with torch.no_grad():
        tensors[2][ruled_out] = -torch.inf
    expected = plain(*tensors, target, 0.0)
    gradients = torch.autograd.grad(expected, tensors)
    loss = linear_cross_entropy(*tensors, target, PAD).loss
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, tensors), gradients)


def test_single_precision():
    *tensors, target = inputs(900, 8000, 32, torch.float32)
    exact = plain(*(tensor.detach().double() for tensor in tensors), target, 0.1)
    loss = linear_cross_entropy(*tensors, target, PAD, 0.1).loss
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_types_add_up_in_single(kind):
    """Over thousands of tokens a sum in bfloat16 stops at some hundreds of its summands."""
    *tensors, target = inputs(3000, 9000, 8, kind)
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    expected = plain(*exact, target, 0.1)
    loss, nll = linear_cross_entropy(*tensors, target, PAD, 0.1)
    assert loss.dtype == nll.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    for ours, theirs in zip(
        torch.autograd.grad(loss, tensors), torch.autograd.grad(expected, exact), strict=True
    ):
        assert ours.dtype == kind
        assert (ours.double() - theirs).norm() < 2**-7 * theirs.norm()


def test_autocast():
    """Products in the type that autocast gave the features, gradients in that of the parameters."""
    features, weight, bias, target = inputs(50, 40, 8, torch.float32)
    expected = plain(features, weight, bias, target, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        same = features @ torch.eye(8)
        loss = linear_cross_entropy(same, weight, bias, target, PAD, 0.1).loss
    assert same.dtype == torch.bfloat16
    assert loss.item() == pytest.approx(expected.item(), rel=1e-2)
    parameters = [features, weight, bias]
    for ours, theirs in zip(
        torch.autograd.grad(loss, parameters),
        torch.autograd.grad(expected, parameters),
        strict=True,
    ):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 2e-2 * theirs.norm()


def test_gradients_of_several_losses_accumulate():
    *tensors, target = inputs(6, 7, 3)
    twice = [2 * g for g in torch.autograd.grad(plain(*tensors, target, 0.0), tensors)]
    for _ in range(2):
        linear_cross_entropy(*tensors, target, PAD).loss.backward()
    for tensor, expected in zip(tensors, twice, strict=True):
        torch.testing.assert_close(tensor.grad, expected)


def test_going_backward_twice_is_an_error():
    *tensors, target = inputs(6, 7, 3)
    loss = linear_cross_entropy(*tensors, target, PAD).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="compute the loss once more"):
        loss.backward()


def test_looking_at_the_loss_differentiates_nothing():
    *tensors, target = inputs(6, 7, 3)
    with torch.no_grad():
        loss, nll = linear_cross_entropy(*tensors, target, PAD)
    assert not loss.requires_grad and not nll.requires_grad
    assert not linear_cross_entropy(*tensors, target, PAD).nll.requires_grad


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("types", [50, 30_000])
def test_on_a_gpu(types, epsilon):
    *tensors, target = inputs(900, types, 8)
    expected = torch.autograd.grad(plain(*tensors, target, epsilon), tensors)
    moved = [tensor.detach().cuda().requires_grad_() for tensor in tensors]
    target = target.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        ours = torch.autograd.grad(linear_cross_entropy(*moved, target, PAD, epsilon).loss, moved)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-9, atol=1e-9)


def held(shape):
    """Addresses of the tensors of this shape that are alive."""
    gc.collect()
    tensors = (thing for thing in gc.get_objects() if type(thing) is torch.Tensor)
    return {tensor.data_ptr() for tensor in tensors if tensor.shape == shape}


def test_the_gradient_of_the_weight_is_not_copied():
    *tensors, target = inputs(6, 7, 3)
    loss = linear_cross_entropy(*tensors, target, PAD).loss
    before = held((7, 3))
    loss.backward()
    assert tensors[1].grad.data_ptr() in before


@pytest.mark.parametrize("backward", [False, True])
def test_nothing_is_held_once_the_loss_is_gone(backward):
    *tensors, target = inputs(6, 7, 3)
    before = held((7, 3))
    for _ in range(3):
        loss = linear_cross_entropy(*tensors, target, PAD).loss
        if backward:
            loss.backward()
            tensors[1].grad = None
    del loss
    assert held((7, 3)) == before


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's peak of memory")
def test_peak_of_memory(cpu_path):
    """Forward and backward twice, in a process of their own, take a third of the scores' memory."""
    if cpu_path == "torch":
        pytest.skip("the process takes what it finds")
    sizes = ("--tokens", 2048, "--vocabulary", 20_000, "--dim", 16)
    printed = run("-m", "scripts.lab.benchmarks.output_layer", "ours", *sizes).check().stdout
    scores, gradient = 2048 * 20_000 * 4, 20_000 * 16 * 4
    assert gradient < json.loads(printed.splitlines()[-1])["memory"] < scores / 3

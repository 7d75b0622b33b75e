"""The loss of the output layer against fairseq's and against plain log-softmax."""

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

from tiednmt.modules import OutputLayer

PAD = 1


def layer(types=11, dim=4, projection=False, projection_bias=False, dtype=torch.float64):
    torch.manual_seed(5)
    embedding = torch.nn.Embedding(types, dim, padding_idx=PAD)
    result = OutputLayer(embedding, projection, projection_bias)
    torch.nn.init.normal_(result.bias)
    return result.to(dtype)


def tokens(count, types=11, dim=4, dtype=torch.float64):
    torch.manual_seed(6)
    features = torch.randn(count, dim, dtype=dtype, requires_grad=True)
    target = torch.randint(0, types, (count,))
    target[:: max(2, count // 3)] = PAD
    return features, target


@pytest.mark.parametrize("projection", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("count", [1, 7, 1200])
def test_loss_and_gradients_equal_fairseqs(count, smoothing, projection):
    ours = layer(11, 4, *projection)
    features, target = tokens(count)
    inputs = [features, *ours.parameters()]
    loss, nll = ours.loss(features, target, PAD, smoothing)
    expected_loss, expected_nll = label_smoothed_nll_loss(
        ours(features).log_softmax(-1), target, smoothing, ignore_index=PAD
    )
    torch.testing.assert_close(loss, expected_loss, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(nll, expected_nll, rtol=1e-11, atol=1e-11)
    ours_grad = torch.autograd.grad(loss, inputs)
    theirs = torch.autograd.grad(expected_loss, inputs)
    for a, b in zip(ours_grad, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_single_precision_on_a_real_vocabulary():
    double, single = layer(8000, 64), layer(8000, 64, dtype=torch.float32)
    features, target = tokens(900, 8000, 64)
    expected, _ = label_smoothed_nll_loss(
        double(features).log_softmax(-1), target, 0.1, ignore_index=PAD
    )
    loss, _ = single.loss(features.detach().float(), target, PAD, 0.1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_scores_are_v_p_h_plus_b():
    ours = layer(projection=True)
    h = torch.randn(3, 4, dtype=torch.float64)
    expected = torch.stack(
        [ours.embedding.weight @ (ours.projection.weight @ row) + ours.bias for row in h]
    )
    torch.testing.assert_close(ours(h), expected)


def test_projection_may_have_a_bias():
    ours = layer(projection=True, projection_bias=True)
    h = torch.randn(3, 4, dtype=torch.float64)
    moved = h @ ours.projection.weight.T + ours.projection.bias
    torch.testing.assert_close(ours(h), moved @ ours.embedding.weight.T + ours.bias)


@pytest.mark.parametrize("bias", [False, True])
def test_penalty_and_its_gradient(bias):
    ours = layer(projection=True, projection_bias=bias)
    penalty = ours.penalty(0.15)
    assert penalty.item() == pytest.approx(0.075 * (ours.projection.weight**2).sum().item())
    penalty.backward()
    torch.testing.assert_close(ours.projection.weight.grad, 0.15 * ours.projection.weight.detach())
    rest = [p for p in ours.parameters() if p is not ours.projection.weight]
    assert all(p.grad is None for p in rest)


def test_no_projection_no_penalty():
    assert layer().penalty(0.15).item() == 0


def test_half_precision_adds_up_in_single():
    """One number in bfloat16 holds two or three digits; a loss needs more of them."""
    double, half = layer(500, 16), layer(500, 16, dtype=torch.bfloat16)
    features, target = tokens(2000, 500, 16)
    double.load_state_dict({k: v.double() for k, v in half.state_dict().items()})
    expected, _ = double.loss(features.detach().bfloat16().double(), target, PAD)
    loss, _ = half.loss(features.detach().bfloat16(), target, PAD)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=5e-4)

"""The divergence of two predictions against torch's own, in double precision."""

import pytest
import torch
import torch.nn.functional as F

from tiednmt.modules import OutputLayer, cross_entropy

TOKENS, DIM, ENTRIES = 700, 6, 11


@pytest.fixture
def layer():
    torch.manual_seed(5)
    result = OutputLayer(torch.nn.Embedding(ENTRIES, DIM), projection=True).double()
    torch.nn.init.normal_(result.bias)
    return result


@pytest.fixture
def features():
    torch.manual_seed(6)
    return [torch.randn(TOKENS, DIM, dtype=torch.double, requires_grad=True) for _ in range(2)]


def test_equals_torchs_divergences_in_chunks(layer, features, monkeypatch):
    monkeypatch.setattr(cross_entropy, "LOSS_SCORES_ON_CPU", 1)  # 320 tokens at a time
    inputs = [*features, *layer.parameters()]
    value = layer.disagreement(*features)
    p, q = (layer(rows).log_softmax(1) for rows in features)
    expected = (_kl(p, q) + _kl(q, p)) / 2
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(
        torch.autograd.grad(value, inputs), torch.autograd.grad(expected, inputs)
    )


def _kl(p, q):
    return F.kl_div(q, p, reduction="sum", log_target=True)


def test_half_precision_is_summed_in_single(layer, features):
    exact = layer.disagreement(*features)
    layer.to(torch.bfloat16)
    rounded = layer.disagreement(*(rows.bfloat16() for rows in features))
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)


def test_equal_features_agree_and_no_features_do(layer, features):
    one, _ = features
    assert layer.disagreement(one, one) == 0
    assert layer.disagreement(one[:0], one[:0]) == 0

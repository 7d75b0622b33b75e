"""The loss of two predictions that are to agree, against torch's own in double precision."""

import pytest
import torch
import torch.nn.functional as F

from tiednmt.modules import OutputLayer, cross_entropy
from tiednmt.modules.output_maps import RESIDUAL, OutputMapOptions

pytestmark = pytest.mark.usefixtures("cpu_path")

PAD, TOKENS, DIM, ENTRIES, ALPHA = 1, 700, 6, 11, 5.0


def output_layer(**options):
    torch.manual_seed(5)
    result = OutputLayer(torch.nn.Embedding(ENTRIES, DIM), projection=True, **options).double()
    torch.nn.init.normal_(result.bias)
    return result


@pytest.fixture
def layer():
    return output_layer()


@pytest.fixture
def pairs():
    torch.manual_seed(6)
    return torch.randn(TOKENS, 2, DIM, dtype=torch.double, requires_grad=True)


@pytest.fixture
def target():
    torch.manual_seed(7)
    result = torch.randint(2, ENTRIES, (TOKENS,))
    result[2::5] = PAD
    return result


def reference(log_p, target):
    """Equation 4 of the paper, the likelihoods smoothed, from N × 2 × vocabulary."""
    counted = target.ne(PAD)
    one, other = log_p[counted].unbind(1)
    divergence = (_kl(one, other) + _kl(other, one)) / 2
    targets, smoothing = target[counted], 0.1 * ENTRIES / (ENTRIES - 1)  # fairseq's
    of_both = [
        F.cross_entropy(rows, targets, reduction="sum", label_smoothing=smoothing)
        for rows in (one, other)
    ]
    return sum(of_both) + ALPHA * divergence, divergence


def _kl(p, q):
    return F.kl_div(q, p, reduction="sum", log_target=True)


@pytest.mark.parametrize("scores", [321 * ENTRIES, 500 * ENTRIES])
def test_equals_torchs_loss_in_chunks(layer, pairs, target, scores, monkeypatch):
    monkeypatch.setattr(cross_entropy, "LOSS_SCORES_ON_CPU", scores)
    inputs = [pairs, *layer.parameters()]
    loss, nll, divergence = layer.pair_loss(pairs, target, PAD, 0.1, ALPHA)
    log_p = layer(pairs).log_softmax(2)
    expected, expected_divergence = reference(log_p, target)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(divergence, expected_divergence.detach())
    counted = target.ne(PAD)
    gold = log_p[counted].gather(2, target[counted, None, None].expand(-1, 2, 1))
    torch.testing.assert_close(nll, -gold.sum().detach())
    torch.testing.assert_close(
        torch.autograd.grad(3 * loss, inputs), torch.autograd.grad(3 * expected, inputs)
    )


def test_the_divergence_is_of_the_predictions_that_the_loss_is_of(pairs, target):
    residual = OutputMapOptions(RESIDUAL, depth=1, dropout=0.5)
    layer = output_layer(output_map=residual)
    torch.nn.init.normal_(layer.map.layers[0].weight)
    torch.manual_seed(8)
    loss, *_ = layer.pair_loss(pairs, target, PAD, 0.1, ALPHA)
    torch.manual_seed(8)
    expected, _ = reference(layer(pairs).log_softmax(2), target)
    torch.testing.assert_close(loss, expected)


def test_half_precision_is_summed_in_single(layer, pairs, target):
    exact = layer.pair_loss(pairs, target, PAD, 0.1, ALPHA)
    layer.to(torch.bfloat16)
    rounded = layer.pair_loss(pairs.bfloat16(), target, PAD, 0.1, ALPHA)
    for ours, known in zip(rounded, exact, strict=True):
        assert ours.dtype == torch.float32
        assert ours.item() == pytest.approx(known.item(), rel=0.02)


def test_equal_features_agree_and_no_features_do(layer, pairs, target):
    pairs = pairs[:, :1].expand(-1, 2, -1)
    plain = layer.loss(pairs[:, 0], target, PAD, 0.1)
    loss, nll, divergence = layer.pair_loss(pairs, target, PAD, 0.1, ALPHA)
    assert divergence == 0
    torch.testing.assert_close((loss / 2, nll / 2), tuple(plain))
    assert layer.pair_loss(pairs[:0], target[:0], PAD, 0.1, ALPHA) == (0, 0, 0)


@pytest.mark.filterwarnings("error")
def test_no_gradient_is_made_where_none_is_wanted(layer, pairs, target):
    with torch.no_grad():
        loss, *_ = layer.pair_loss(pairs, target, PAD, 0.1, ALPHA)
    torch.testing.assert_close(loss, layer.pair_loss(pairs, target, PAD, 0.1, ALPHA).loss.detach())
    assert not loss.requires_grad

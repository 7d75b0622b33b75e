"""What stands between a shared matrix and the scores, against its formula in float64."""

import math

import pytest
import torch

from tiednmt.errors import UserError
from tiednmt.modules import OutputLayer
from tiednmt.modules.frozen_linear import Int8Linear, PackedLinear
from tiednmt.modules.output_maps import OutputMapOptions

ROWS, DIM, PAD = 13, 6, 1
MAPS = {
    "joint": OutputMapOptions("joint", size=4),
    "residual": OutputMapOptions("residual", depth=3),
    "low-rank": OutputMapOptions("low-rank", size=2),
}


def layer(options, dim=DIM, dtype=torch.float64, noise=0.5, rows=ROWS, **more):
    """With noise no parameter has the value that it starts from."""
    torch.manual_seed(5)
    embedding = torch.nn.Embedding(rows, dim, padding_idx=PAD)
    result = OutputLayer(embedding, output_map=options, **more).to(dtype)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    return result


def scores(name, weights, h):
    """The papers' formulas over the parameters of a layer, by their names."""
    e, b = weights["embedding.weight"], weights["bias"]
    if name == "joint":
        joint = torch.tanh(e @ weights["map.of_rows.weight"].T + weights["map.of_rows.bias"])
        context = weights["map.of_features.weight"], weights["map.of_features.bias"]
        return torch.tanh(h @ context[0].T + context[1]) @ joint.T + b
    if name == "residual":
        label = e
        for k in range(3):
            u, c = weights[f"map.layers.{k}.weight"], weights[f"map.layers.{k}.bias"]
            label = torch.tanh(label @ u.T + c) + e
        return h @ label.T + b
    return h @ (e + weights["map.left"] @ weights["map.right.weight"].T).T + b


@pytest.mark.parametrize("name", MAPS)
def test_scores_and_gradients_are_those_of_the_formula(name):
    ours = layer(MAPS[name])
    weights = {n: w.detach().clone().requires_grad_() for n, w in ours.named_parameters()}
    h = torch.randn(7, DIM, dtype=torch.float64)
    target = torch.randint(2, ROWS, (7,))
    expected = scores(name, weights, h)
    torch.testing.assert_close(ours(h), expected)
    loss = ours.loss(h, target, PAD, 0.1).loss
    log_p = expected.log_softmax(1)
    nll, rest = -log_p.gather(1, target.unsqueeze(1)).sum(), -log_p.sum()
    full = 0.9 * nll + 0.1 / (ROWS - 1) * (rest - nll)
    torch.testing.assert_close(loss, full)
    loss.backward()
    full.backward()
    for n, parameter in ours.named_parameters():
        assert weights[n].grad.abs().sum() > 0
        torch.testing.assert_close(parameter.grad, weights[n].grad)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("joint", 2 * 4 * (DIM + 1)),
        ("residual", 3 * DIM * (DIM + 1)),
        ("low-rank", 2 * (ROWS + DIM)),
    ],
)
def test_parameters_to_the_number(name, count):
    plain = layer(None)
    sizes = (sum(p.numel() for p in one.parameters()) for one in (layer(MAPS[name]), plain))
    assert next(sizes) - next(sizes) == count


@pytest.mark.parametrize("name", ["residual", "low-rank"])
def test_what_adds_to_the_matrix_starts_as_the_plain_tied_layer(name):
    """And does not stay there: the map has a gradient from the first update on."""
    mapped, plain = layer(MAPS[name], noise=0), layer(None, noise=0)
    h = torch.randn(5, DIM, dtype=torch.float64)
    torch.testing.assert_close(mapped.rows(), plain.embedding.weight)
    torch.testing.assert_close(mapped(h), plain(h))
    mapped.loss(h, torch.full((5,), 3), PAD).loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in mapped.map.parameters())


@pytest.mark.parametrize("size", [16, 64, 512])
def test_a_joint_space_starts_with_scores_of_the_size_of_the_plain_ones(size):
    """Rows of length one and features of an untrained readout, which no tanh bends much."""
    torch.manual_seed(2)
    embedding = torch.nn.Embedding(2000, 64)
    torch.nn.init.normal_(embedding.weight, std=64**-0.5)
    h = 0.3 * torch.randn(200, 64)
    spread = [
        OutputLayer(embedding, output_map=options)(h).std().item()
        for options in (None, OutputMapOptions("joint", size=size))
    ]
    assert spread[1] == pytest.approx(spread[0], rel=0.25)


def test_a_factorised_layer_brings_the_features_down():
    """As a plain layer whose matrix is the product; the scores start at the same size."""
    ours = layer(None, dim=3, noise=0.5)
    torch.manual_seed(1)
    factorised = OutputLayer(ours.embedding, projection=True, dim=8).double()
    h = torch.randn(4, 8, dtype=torch.float64)
    v = ours.embedding.weight @ factorised.down.weight
    torch.testing.assert_close(factorised(h), h @ factorised.projection.weight.T @ v.T)
    long, short = torch.nn.Embedding(3000, 256), torch.nn.Embedding(3000, 32)
    for embedding in (long, short):
        torch.nn.init.normal_(embedding.weight, std=embedding.embedding_dim**-0.5)
    h = torch.randn(100, 256)
    whole, product = (OutputLayer(e, dim=256)(h).std().item() for e in (long, short))
    assert product == pytest.approx(whole, rel=0.25)


class TestDropoutOfTheResidualMap:
    def test_drops_the_same_numbers_of_all_rows(self):
        ours = layer(OutputMapOptions("residual", depth=1, dropout=0.5), dim=400)
        torch.manual_seed(3)
        with torch.no_grad():
            ours.map.layers[0].weight.copy_(torch.eye(400))
            ours.map.layers[0].bias.zero_()
        added = (ours.rows() - ours.embedding.weight).detach()
        dropped = added[0].eq(0)
        assert added[:, dropped].eq(0).all()
        assert dropped.double().mean().item() == pytest.approx(0.5, abs=0.1)
        expected = torch.tanh(2 * ours.embedding.weight)[:, ~dropped]
        torch.testing.assert_close(added[:, ~dropped], expected.detach())

    @pytest.mark.parametrize("kind", [PackedLinear, Int8Linear])
    def test_a_copy_made_before_evaluation_begins_drops_nothing(self, kind):
        """fairseq prepares a model for inference before it says that training is over."""
        ours = layer(OutputMapOptions("residual", depth=2, dropout=0.5), dtype=torch.float32)
        ours.train().freeze(kind)
        fresh = layer(OutputMapOptions("residual", depth=2), dtype=torch.float32)
        fresh.eval().freeze(kind)
        h = torch.randn(3, DIM)
        with torch.no_grad():
            assert ours.training and ours.map.dropout.drops
            assert torch.equal(ours.eval()(h), fresh(h))


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_frozen_layer_maps_once(name, dtype, monkeypatch):
    """And again after a change, also where no copy is packed (double precision)."""
    ours = layer(MAPS[name], dtype=dtype).eval()
    h, calls = torch.randn(3, DIM, dtype=dtype), []
    rows = ours.map.rows
    monkeypatch.setattr(ours.map, "rows", lambda matrix: calls.append(1) or rows(matrix))
    ours.freeze(PackedLinear)
    with torch.no_grad():
        for _ in range(3):
            scored = ours(h)
        assert len(calls) == 1
        next(ours.map.parameters()).mul_(0.5)
        changed = ours(h)
    assert len(calls) == 2
    assert not torch.equal(scored, changed)
    torch.testing.assert_close(changed, ours(h))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("bilinear",), "--output-map bilinear: choose one of none, joint, residual, low-rank"),
        (("joint",), "--output-map joint needs --output-map-size"),
        (("low-rank",), "--output-map low-rank needs --output-map-size"),
        (("residual",), "--output-map residual needs --output-map-depth"),
        (("none", 4), "--output-map-size is for --output-map joint and low-rank alone"),
        (("residual", 4, 2), "--output-map-size is for --output-map joint and low-rank alone"),
        (("joint", 4, 2), "--output-map-depth is for --output-map residual alone"),
        (("joint", 4, 0, 0.1), "--output-map-dropout is for --output-map residual alone"),
        (("none", 0, 0, 0.1), "--output-map-dropout is for --output-map residual alone"),
        (("residual", 0, 2, 1.0), "--output-map-dropout 1.0: must be from 0 to below 1"),
        (("residual", 0, -1), "--output-map-depth -1: must be 1 or more"),
    ],
)
def test_contradictions_are_refused_in_one_line(options, message):
    with pytest.raises(UserError) as refused:
        OutputMapOptions(*options)
    assert str(refused.value) == message


def test_the_first_loss_is_that_of_a_flat_softmax():
    torch.manual_seed(2)
    h, target = torch.tanh(torch.randn(300, 64)), torch.randint(2, 500, (300,))
    for name, options in MAPS.items():
        embedding = torch.nn.Embedding(500, 64, padding_idx=PAD)
        torch.nn.init.normal_(embedding.weight, std=1 / 8)
        loss = OutputLayer(embedding, output_map=options).loss(h, target, PAD).loss.item() / 300
        assert loss == pytest.approx(math.log(500), rel=0.1), name

"""Packed products and int8 products against plain ones."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils import parametrize

from tests.support.small_models import model
from tiednmt.modules import frozen_linear
from tiednmt.modules.frozen_linear import Int8Linear, PackedLinear, TransposedLinear
from tiednmt.modules.linear import freeze, linear

pytestmark = pytest.mark.usefixtures("cpu_path")

packed = pytest.mark.skipif(
    PackedLinear.of(torch.ones(1, 1)) is None, reason="torch has no oneDNN on this machine"
)


@packed
@pytest.mark.parametrize("shape", [(1, 40), (3, 40), (2, 5, 40), (300, 40), (0, 40)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [PackedLinear, TransposedLinear])
def test_packed_product_is_exact(kind, shape, bias):
    torch.manual_seed(3)
    plain, features = torch.nn.Linear(40, 333, bias).requires_grad_(False), torch.randn(shape)
    packed_product = kind(plain.weight, plain.bias)(features)
    torch.testing.assert_close(packed_product, plain(features), atol=1e-6, rtol=1e-6)


@packed
@pytest.mark.parametrize("kind", [PackedLinear, TransposedLinear])
@pytest.mark.parametrize("rows", [9, 1])
def test_packed_product_keeps_the_weight_of_its_time(kind, rows):
    plain, features = torch.nn.Linear(16, rows).requires_grad_(False), torch.randn(4, 16)
    fixed, expected = kind(plain.weight), F.linear(features, plain.weight)
    plain.weight.zero_()
    torch.testing.assert_close(fixed(features), expected)


def test_packed_product_is_for_single_precision():
    assert PackedLinear.of(torch.ones(2, 2, dtype=torch.float64)) is None
    assert PackedLinear.of(torch.ones(2, 2, dtype=torch.bfloat16)) is None


def test_a_model_prepared_for_inference_can_still_be_copied_and_saved():
    prepared = model(dtype=torch.float32).eval()
    names = set(prepared.state_dict())
    prepared.make_generation_fast_()
    prepared.freeze_for_decoding(PackedLinear)
    assert set(prepared.state_dict()) == names
    features = torch.randn(3, prepared.output_layer.embedding.embedding_dim)
    with torch.no_grad():
        scores = prepared.output_layer(features)
        torch.testing.assert_close(copy.deepcopy(prepared).output_layer(features), scores)


def test_a_weight_at_the_address_of_an_older_one():
    """Memory is given again: a conversion there and back may end where it began."""
    memory, features = bytearray(8 * 16 * 4), torch.rand(3, 16)
    layer = torch.nn.Linear(16, 8, bias=False).requires_grad_(False)
    for value in (1.0, 2.0):
        layer.weight.data = torch.frombuffer(memory, dtype=torch.float32).view(8, 16).fill_(value)
        if value == 1.0:
            freeze(layer, Int8Linear)
        with torch.no_grad():
            torch.testing.assert_close(linear(layer, features), layer(features), atol=0, rtol=0.1)


def test_a_weight_that_is_computed_at_each_access_is_not_copied():
    class Doubled(torch.nn.Module):
        def forward(self, weight):
            return 2 * weight

    made, built = [], model(dtype=torch.float32).eval()
    parametrize.register_parametrization(built.output_layer.embedding, "weight", Doubled())
    built.output_layer.freeze(PackedLinear)
    built.output_layer.frozen.make = lambda *given: made.append(given)
    features = torch.randn(3, built.output_layer.dim)
    with torch.no_grad():
        scores = built.output_layer(features)
        weight = 2 * built.output_layer.embedding.parametrizations.weight.original
        torch.testing.assert_close(scores, F.linear(features, weight, built.output_layer.bias))
    assert not made


@pytest.fixture(params=[True, False], ids=["sums of 8-bit products", "no such sums"])
def sums_integers(request, monkeypatch):
    """Both kinds of CPU; torch sums integers on each, on one of them slowly."""
    monkeypatch.setattr(frozen_linear, "_sums_integers", lambda: request.param)
    return request.param


def test_close_to_the_exact_product(sums_integers):
    torch.manual_seed(1)
    exact = torch.nn.Linear(64, 50)
    features = torch.randn(4, 3, 64)
    error = Int8Linear(exact.weight, exact.bias)(features) - exact(features)
    assert error.shape == (4, 3, 50)
    assert 0 < error.norm() < 0.02 * exact(features).norm()


def test_whole_numbers_are_exact(sums_integers):
    weight = torch.tensor([[127.0, -1.0, 4.0], [-127.0, 0.0, 64.0]])
    features = torch.tensor([[127.0, 5.0, -3.0], [0.0, 0.0, 0.0]])
    result = Int8Linear(weight, torch.tensor([0.5, -2.0]))(features)
    torch.testing.assert_close(result, features @ weight.t() + torch.tensor([0.5, -2.0]))


def test_what_is_multiplied_is_rounded_only_where_it_is_faster(sums_integers):
    """Weights are whole numbers here, so that features alone can be rounded: 0.3 to 38 / 127."""
    features = torch.tensor([[1.0, 0.3]])
    result = Int8Linear(torch.tensor([[127.0, 0.0], [0.0, 127.0]]))(features)
    expected = [127.0, 38.0] if sums_integers else [127.0, 38.1]
    torch.testing.assert_close(result, torch.tensor([expected]))


def test_a_row_of_whole_numbers_depends_on_no_other(monkeypatch):
    monkeypatch.setattr(frozen_linear, "_sums_integers", lambda: True)
    torch.manual_seed(2)
    layer, features = Int8Linear(torch.randn(20, 16)), torch.randn(6, 16)
    alone = torch.cat([layer(row) for row in features.split(1)])
    features[-1] *= 1000
    assert torch.equal(layer(features)[:-1], alone[:-1])


def test_rows_out_of_the_ordinary(sums_integers):
    layer = Int8Linear(torch.eye(3), torch.tensor([0.0, 1.0, 0.0]))
    inputs = [[0.0, 0.0, 0.0], [1e-30, 0.0, -1e-30], [math.nan, 1.0, 1.0], [math.inf, 1.0, 1.0]]
    zero, tiny, *no_numbers = layer(torch.tensor(inputs))
    assert zero.tolist() == [0.0, 1.0, 0.0]
    torch.testing.assert_close(tiny, torch.tensor([1e-30, 1.0, -1e-30]), atol=0, rtol=1e-6)
    assert not any(row.isfinite().any() for row in no_numbers)
    assert layer(torch.empty(0, 3)).shape == (0, 3)
    columns = torch.randn(3, 5).t()
    torch.testing.assert_close(layer(columns), layer(columns.contiguous()))


def test_one_input(sums_integers):
    """torch's product of integers reads beside its factors there."""
    torch.manual_seed(4)
    weight, bias, features = torch.randn(17, 1), torch.randn(17), torch.randn(33, 1)
    exact = features @ weight.t() + bias
    torch.testing.assert_close(Int8Linear(weight, bias)(features), exact, rtol=0.02, atol=0.02)

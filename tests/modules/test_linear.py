"""Products in bfloat16 against those in float64: near, and only where they are allowed."""

import pytest
import torch
import torch.nn.functional as F

from tiednmt.modules import ConditionalGRU, OutputLayer
from tiednmt.modules import linear as linear_module
from tiednmt.modules.frozen_linear import Int8Linear, PackedLinear
from tiednmt.modules.linear import freeze, linear, set_matmul_precision
from tiednmt.tuned_process import use_exact_onednn


@pytest.fixture
def medium(monkeypatch):
    """A CPU that multiplies bfloat16; returns what sets a module's precision to medium."""
    monkeypatch.setattr(linear_module, "has_bfloat16_products", lambda: True)

    def to_medium(module):
        set_matmul_precision(module, "medium")
        return module

    return to_medium


def test_the_faster_library_rounds_nothing():
    """Whatever library serves here, all float32 products have 24 bits."""
    before = torch.get_float32_matmul_precision()
    use_exact_onednn()
    inputs, weight = tensors((64, 512), (300, 512))
    exact = inputs.double() @ weight.t().double()
    product = (inputs @ weight.t()).double()
    torch.set_float32_matmul_precision(before)
    assert (product - exact).norm() < 1e-6 * exact.norm()


def tensors(*shapes, kind=torch.float32):
    torch.manual_seed(1)
    return [torch.randn(shape, dtype=kind, requires_grad=True) for shape in shapes]


def with_gradients(function, inputs):
    """The outcomes and the gradients of a weighted sum of them, each in the inputs' type."""
    outcomes = function(*inputs)
    torch.manual_seed(2)
    total = sum((o * torch.randn(o.shape, dtype=torch.float64).to(o.dtype)).sum() for o in outcomes)
    return [*outcomes, *torch.autograd.grad(total, inputs)]


def exactly(function, inputs):
    return with_gradients(function, [t.detach().double().requires_grad_() for t in inputs])


def check_near(found, exact):
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == torch.float32
        error = (one.double() - other).norm() / other.norm()
        assert 1e-5 < error < 2e-2  # 8 bits, not 24


def a_layer(bias=True):
    torch.manual_seed(1)
    return torch.nn.Linear(8, 6, bias)


def through(layer):
    """A function of inputs, weight and bias."""
    names = [name for name, _ in layer.named_parameters()]

    class Called(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, inputs):
            return [linear(self.layer, inputs)]

    def run(inputs, *parameters):
        values = {f"layer.{name}": value for name, value in zip(names, parameters, strict=True)}
        return torch.func.functional_call(Called(), values, (inputs,))

    return run


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 8), (1, 8)])
def test_linear(medium, shape):
    inputs = tensors(shape, (6, 8), (6,))
    rounded = with_gradients(through(medium(a_layer())), inputs)
    exact = exactly(lambda *args: [F.linear(*args)], inputs)
    assert torch.allclose(rounded.pop().double(), exact.pop())  # a bias enters no product
    check_near(rounded, exact)


def test_linear_without_bias(medium):
    inputs = tensors((5, 8), (6, 8))
    rounded = with_gradients(through(medium(a_layer(bias=False))), inputs)
    check_near(rounded, exactly(lambda *args: [F.linear(*args)], inputs))


@pytest.mark.usefixtures("cpu_path")
def test_conditional_gru(medium):
    torch.manual_seed(3)
    cell = ConditionalGRU(input_size=16, annotation_size=24, hidden_size=16, attention_size=8)
    medium(cell)
    inputs = tensors((9, 16), (4, 5, 24), (4, 16))
    padding = torch.zeros(4, 5, dtype=torch.bool)
    names = [name for name, _ in cell.named_parameters()]

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def forward(self, embedded, annotations, state):
            memory = self.cell.read(annotations, padding)
            return self.cell(embedded, (4, 3, 2), memory, state)[:2]

    def run(embedded, annotations, state, *parameters):
        values = {f"cell.{name}": value for name, value in zip(names, parameters, strict=True)}
        return torch.func.functional_call(Whole(), values, (embedded, annotations, state))

    everything = [*inputs, *(p.detach().requires_grad_() for p in cell.parameters())]
    check_near(with_gradients(run, everything), exactly(run, everything))


@pytest.mark.usefixtures("cpu_path")
def test_loss(medium):
    torch.manual_seed(4)
    layer = medium(OutputLayer(torch.nn.Embedding(40, 16), projection=True))
    features, target = tensors((30, 16))[0], torch.randint(2, 40, (30,))
    rounded = layer.loss(features, target, padding_idx=1, label_smoothing=0.1)
    set_matmul_precision(layer, "highest")
    exact = layer.loss(features, target, padding_idx=1, label_smoothing=0.1)
    assert rounded.loss.item() == pytest.approx(exact.loss.item(), rel=1e-2)
    inputs = [features, *layer.parameters()]
    for one, other in zip(
        torch.autograd.grad(rounded.loss, inputs),
        torch.autograd.grad(exact.loss, inputs),
        strict=True,
    ):
        assert 1e-5 < (one - other).norm() / other.norm() < 2e-2


def test_nothing_is_rounded_without_gradients(medium):
    layer, (inputs,) = medium(a_layer()), tensors((5, 8))
    with torch.no_grad():
        assert torch.equal(linear(layer, inputs), layer(inputs))


@pytest.mark.parametrize("precision", ["highest", "high"])
def test_nothing_is_rounded_unless_allowed(medium, precision):
    layer, (inputs,) = medium(a_layer()), tensors((5, 8))
    set_matmul_precision(layer, precision)
    assert torch.equal(linear(layer, inputs), layer(inputs))


def test_other_dtypes_are_left_alone(medium):
    layer, (inputs,) = medium(a_layer().double()), tensors((5, 8), kind=torch.float64)
    assert torch.equal(linear(layer, inputs), layer(inputs))


def test_two_layers_of_different_precision_in_one_process(medium):
    """Whichever was told last, and whichever goes backward last, each computes as told."""
    rounded, exact, (inputs,) = medium(a_layer()), a_layer(), tensors((5, 8))
    outcomes = [linear(layer, inputs) for layer in (rounded, exact, rounded)]
    assert torch.equal(outcomes[0], outcomes[2])
    assert torch.equal(outcomes[1], exact(inputs))
    assert not torch.equal(outcomes[0], outcomes[1])
    for outcome in outcomes[:2]:
        outcome.square().sum().backward()
    expected = torch.autograd.grad(exact(inputs).square().sum(), exact.weight)[0]
    torch.testing.assert_close(exact.weight.grad, expected)
    assert not torch.allclose(rounded.weight.grad, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", [PackedLinear, Int8Linear])
def test_a_frozen_layer_follows_its_weight(kind):
    layer, (inputs,) = a_layer(), tensors((5, 8))
    freeze(layer, kind)
    with torch.no_grad():
        linear(layer, inputs)
        layer.weight.mul_(3)
        layer.bias.zero_()
        exact = layer(inputs)
        assert (linear(layer, inputs) - exact).norm() < 0.02 * exact.norm()
        layer.weight = torch.nn.Parameter(-layer.weight)
        assert (linear(layer, inputs) + exact).norm() < 0.02 * exact.norm()
        layer.load_state_dict({"weight": torch.zeros(6, 8), "bias": torch.ones(6)})
        assert torch.equal(linear(layer, inputs), torch.ones(5, 6))


def test_gradients_do_not_see_a_frozen_copy():
    layer, (inputs,) = a_layer(), tensors((5, 8))
    expected = torch.autograd.grad(layer(inputs).square().sum(), [inputs, *layer.parameters()])
    freeze(layer, Int8Linear)
    outcome = linear(layer, inputs).square().sum()
    frozen = torch.autograd.grad(outcome, [inputs, *layer.parameters()])
    assert all(map(torch.equal, frozen, expected))


def test_a_layer_that_does_more_than_its_weight_says_is_called():
    layer, (inputs,) = a_layer(), tensors((5, 8))
    freeze(layer, PackedLinear)
    layer.register_forward_hook(lambda *_: torch.zeros(5, 6))
    with torch.no_grad():
        assert torch.equal(linear(layer, inputs), torch.zeros(5, 6))

"""Products in bfloat16 against those in float64: near, and only where they are allowed."""

import pytest
import torch
import torch.nn.functional as F

from tiednmt.modules import ConditionalGRU, OutputLayer, products


@pytest.fixture
def precision():
    """Torch's setting, put back afterwards."""
    before = torch.get_float32_matmul_precision()
    yield torch.get_float32_matmul_precision
    products.set_precision("highest")
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def medium(monkeypatch, precision):
    """``--float32-matmul-precision medium`` on a CPU that multiplies bfloat16."""
    monkeypatch.setattr(products, "has_bfloat16_products", lambda: True)
    products.set_precision("medium")


@pytest.mark.parametrize("chosen", ["highest", "high", "medium"])
def test_a_precision_that_may_round_is_torchs_setting(monkeypatch, precision, chosen):
    monkeypatch.setattr(products, "_has_exact_onednn", lambda: False)
    products.set_precision(chosen)
    assert precision() == chosen


def test_the_faster_library_rounds_nothing(precision):
    """Whatever library serves here: under ``highest`` all products have 24 bits."""
    products.set_precision("highest")
    inputs, weight = tensors((64, 512), (300, 512))
    for found in (products.linear(inputs, weight), inputs @ weight.t()):
        exact = inputs.double() @ weight.t().double()
        assert (found.double() - exact).norm() < 1e-6 * exact.norm()


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


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 8), (1, 8)])
def test_linear(medium, shape):
    inputs = tensors(shape, (6, 8), (6,))
    found = with_gradients(lambda *args: [products.linear(*args)], inputs)
    exact = exactly(lambda *args: [F.linear(*args)], inputs)
    assert torch.allclose(found.pop().double(), exact.pop())  # a bias enters no product
    check_near(found, exact)


def test_linear_without_bias(medium):
    inputs = tensors((5, 8), (6, 8))
    found = with_gradients(lambda *args: [products.linear(*args)], inputs)
    check_near(found, exactly(lambda *args: [F.linear(*args)], inputs))


@pytest.mark.usefixtures("cpu_path")
def test_conditional_gru(medium):
    torch.manual_seed(3)
    cell = ConditionalGRU(input_size=16, annotation_size=24, hidden_size=16, attention_size=8)
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
    layer = OutputLayer(torch.nn.Embedding(40, 16), projection=True)
    features, target = tensors((30, 16))[0], torch.randint(2, 40, (30,))
    rounded = layer.loss(features, target, padding_idx=1, label_smoothing=0.1)
    products.set_precision("highest")
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
    inputs, weight = tensors((5, 8), (6, 8))
    with torch.no_grad():
        assert torch.equal(products.linear(inputs, weight), F.linear(inputs, weight))


def test_nothing_is_rounded_unless_allowed(medium):
    inputs, weight = tensors((5, 8), (6, 8))
    for precision in ("highest", "high"):
        products.set_precision(precision)
        assert torch.equal(products.linear(inputs, weight), F.linear(inputs, weight))


def test_other_types_are_left_alone(medium):
    inputs, weight = tensors((5, 8), (6, 8), kind=torch.float64)
    assert torch.equal(products.linear(inputs, weight), F.linear(inputs, weight))

"""The way around a sublayer in one pass: what dropout, sum and norm of torch make, in float64."""

import copy

import pytest
import torch
from torch import nn

from tests.support.kernel_paths import use_cpu_kernels, use_plain_torch
from tiednmt.modules.dropout import Dropout, dropout
from tiednmt.modules.residual import add_normalised


def given(shape, dtype=torch.float32, seed=1):
    torch.manual_seed(seed)
    norm = nn.LayerNorm(shape[-1], eps=1e-3).to(dtype)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    return norm, [torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(2)]


def gradients(result, inputs, norm):
    torch.manual_seed(2)
    slopes = torch.randn(result.shape, dtype=torch.float64).to(result.dtype)
    return torch.autograd.grad((result * slopes).sum(), [*inputs, *norm.parameters()])


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(200, 128), (65, 7), (1, 600), (3, 2, 33), (0, 4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_sums_and_gradients_are_those_of_torch_in_float64(dtype, shape, rate):
    """With the dropout of the same seed."""
    use_cpu_kernels()
    norm, inputs = given(shape, dtype)
    torch.manual_seed(3)
    found = add_normalised(*inputs, Dropout(rate), norm)
    exact, (rows, update) = copy.deepcopy(norm).double(), (x.detach().double() for x in inputs)
    wide = [rows.requires_grad_(), update.requires_grad_()]
    torch.manual_seed(3)
    kept = dropout(torch.ones(shape, dtype=dtype), rate).double()
    expected = exact(rows + update * kept)
    pairs = zip(gradients(found, inputs, norm), gradients(expected, wide, exact), strict=True)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    for one, other in ((found, expected), *pairs):
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance)


def test_plain_torch_and_the_kernel_drop_the_same():
    use_cpu_kernels()
    norm, inputs = given((40, 16))

    def computed():
        torch.manual_seed(4)
        result = add_normalised(*inputs, Dropout(0.5), norm)
        return result, *gradients(result, inputs, norm)

    handle = norm.register_forward_hook(lambda *_: None)  # which the kernel would not call
    hooked = computed()
    handle.remove()
    for one, other in zip(hooked, computed(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_threads_change_no_bit():
    use_cpu_kernels()
    outcomes, before = [], torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            norm, inputs = given((500, 64))
            result = add_normalised(*inputs, Dropout(0.2), norm)
            outcomes.append((result, *gradients(result, inputs, norm)))
        finally:
            torch.set_num_threads(before)
    for one, other in zip(*outcomes, strict=True):
        assert torch.equal(one, other)


def test_hooks_and_norms_of_other_kinds_are_called():
    norm, inputs = given((4, 6))
    called = []
    norm.register_forward_hook(lambda *_: called.append(1))
    add_normalised(*inputs, Dropout(0.0), norm)
    assert called
    bare = nn.LayerNorm(6, elementwise_affine=False)
    expected = torch.layer_norm(inputs[0] + inputs[1], (6,))
    torch.testing.assert_close(add_normalised(*inputs, Dropout(0.0), bare), expected)


def test_rows_with_gaps_are_read_as_they_are(monkeypatch):
    use_cpu_kernels()
    norm, _ = given((5, 8))
    rows, update = torch.randn(5, 16)[:, :8], torch.randn(8, 5).t()
    expected = norm(rows + update)
    torch.testing.assert_close(add_normalised(rows, update, Dropout(0.0), norm), expected)
    with torch.no_grad():
        torch.testing.assert_close(add_normalised(rows, update, Dropout(0.0), norm), expected)
    use_plain_torch(monkeypatch)
    torch.testing.assert_close(add_normalised(rows, update, Dropout(0.0), norm), expected)

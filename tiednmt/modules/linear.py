"""Linear layers: the dtype of their products, and the copies of their weights for decoding.

The precision of products belongs to a model, as :func:`set_matmul_precision` says. Under
``medium``, products in training are computed in bfloat16 on a CPU that multiplies it (AVX512_BF16
or AMX): both factors and the result are rounded, sums inside a product are not. On a GPU the
factors are rounded to TF32. Weights, states, optimizer moments and sums of several products stay in
float32. Without gradients (validation, decoding) a CPU rounds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, NamedTuple, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tiednmt.kernels import cpu_kernels_for
from tiednmt.modules.frozen_linear import Frozen, FrozenLinear, frozen_value

PRECISIONS = ("highest", "high", "medium")  # torch's names


class Matmul(NamedTuple):
    """How the products of a module are computed."""

    dtype: torch.dtype  # both factors are rounded to it
    precision: str = "highest"  # of float32 products on a GPU


def set_matmul_precision(model: nn.Module, precision: str) -> None:
    """Set the precision (one of :data:`PRECISIONS`) of the products of ``model`` and its parts."""
    for module in model.modules():
        module.matmul_precision = precision  # type: ignore[assignment]


def matmul_of(module: nn.Module, inputs: Tensor) -> Matmul:
    """How ``module`` multiplies ``inputs``."""
    precision: str = getattr(module, "matmul_precision", "highest")
    rounds = (
        precision == "medium"
        and inputs.dtype == torch.float32
        and inputs.device.type == "cpu"
        and torch.is_grad_enabled()
        and has_bfloat16_products()
    )
    return Matmul(torch.bfloat16 if rounds else inputs.dtype, precision)


@cache
def has_bfloat16_products() -> bool:
    """Whether this CPU multiplies bfloat16 (AVX512_BF16 or AMX) and torch knows how."""
    instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(instructions() and torch.backends.mkldnn.is_available())


def linear(layer: nn.Module, inputs: Tensor) -> Tensor:
    """``layer(inputs)`` for a linear layer, in the layer's precision or by its frozen copy.

    A layer that is not exactly ``torch.nn.Linear`` (quantised, wrapped by an adapter, hooked) is
    called.

    Args:
        layer: in → out.
        inputs: … × in.
    """
    if not is_plain(layer):
        called: Tensor = layer(inputs)
        return called
    frozen = frozen_copy(layer)
    if frozen is not None:
        return frozen(inputs)
    return multiply(inputs, layer.weight, layer.bias, matmul_of(layer, inputs))


def is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether ``layer(inputs)`` computes just what its weight and bias say."""
    return type(layer) is nn.Linear and not is_hooked(layer)


def is_hooked(module: nn.Module) -> bool:
    """Whether a call of ``module`` also calls hooks, or a ``forward`` put in the class' place."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return bool(hooks) or "forward" in vars(module)


def kept_exact(layer: nn.Linear) -> nn.Linear:
    """``layer``, of which :func:`freeze` makes no copy.

    For one that decoding uses once per sentence or per model: a copy, which may be rounded, would
    only take memory.
    """
    layer.kept_exact = True  # type: ignore[assignment]
    return layer


def freeze(layer: nn.Linear, kind: type[FrozenLinear] | None) -> None:
    """Let :func:`linear` multiply with a copy of the layer's weight, or (``None``) with the weight.

    The copy is used when no gradient is recorded. It is made now, and again whenever the weight has
    changed.
    """
    frozen: Frozen[FrozenLinear | None] | None = None
    if kind is not None and not getattr(layer, "kept_exact", False):
        frozen = Frozen(kind.of, layer.weight, layer.bias)
    layer.frozen = frozen  # type: ignore[assignment]


def frozen_copy(layer: nn.Linear) -> FrozenLinear | None:
    """The copy that currently replaces ``layer.weight`` and ``layer.bias``, if any."""
    frozen: Frozen[FrozenLinear | None] | None = getattr(layer, "frozen", None)
    return frozen_value(frozen, layer.weight, layer.bias)


# --- products ----------------------------------------------------------------------------------


def multiply(inputs: Tensor, weight: Tensor, bias: Tensor | None, matmul: Matmul) -> Tensor:
    """``torch.nn.functional.linear``, computed as ``matmul`` says."""
    if inputs.dtype == matmul.dtype and _is_current(matmul.precision):
        return F.linear(inputs, weight, bias)
    result: Tensor = _Linear.apply(matmul, inputs.flatten(0, -2), weight, bias)
    return result.unflatten(0, inputs.shape[:-1])


def add_product(addend: Tensor, left: Tensor, right: Tensor, out: Tensor) -> None:
    """Put ``addend + left @ right`` into ``out``, which may be the addend.

    The product is computed in the dtype of ``right``. No gradient flows back.
    """
    if left.dtype == right.dtype:
        torch.addmm(addend, left, right, out=out)
        return
    rounded, kernels = left.to(right.dtype) @ right, cpu_kernels_for(out)
    if kernels:
        kernels.add_rounded(addend, rounded, out)
    else:
        torch.add(addend, rounded, out=out)


def put_product(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Put :func:`product` of two matrices into ``out``."""
    if left.dtype == right.dtype:
        torch.mm(left, right, out=out)
    else:
        out.copy_(left.to(right.dtype) @ right)


def product(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right``, computed in the dtype of ``right``, returned in the dtype of ``left``."""
    return (left.to(right.dtype) @ right).to(left.dtype)


def transposed_copy(weight: Tensor) -> Tensor:
    """The transpose of a weight, contiguous, with which many small products take less time."""
    return weight.t().contiguous()


def _is_current(precision: str) -> bool:
    return not torch.cuda.is_available() or torch.get_float32_matmul_precision() == precision


@contextmanager
def _float32_precision(precision: str) -> Iterator[None]:
    """Set torch's precision of float32 products for a while, where there is a GPU to heed it."""
    if _is_current(precision):
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def set_cudnn_precision(module: nn.Module, rows: Tensor) -> None:
    """Let cuDNN's networks, which round float32 to TF32 unless told, do so only where asked.

    It stays so, since their backward pass reads it too.
    """
    if rows.is_cuda:
        precision = getattr(module, "matmul_precision", "highest")
        torch.backends.cudnn.allow_tf32 = precision != "highest"


def in_precision(function: type[torch.autograd.Function]) -> type[torch.autograd.Function]:
    """Run both passes of an autograd function in the precision of its first argument.

    That is a :class:`Matmul`, also left as ``ctx.matmul``. A backward pass runs long after the
    forward pass of its model, perhaps after that of another model.
    """
    forward, backward = function.forward, function.backward

    @wraps(forward)
    def precise_forward(ctx: Any, matmul: Matmul, *args: Any) -> Any:
        ctx.matmul = matmul
        with _float32_precision(matmul.precision):
            return forward(ctx, matmul, *args)

    @wraps(backward)
    def precise_backward(ctx: Any, *grads: Any) -> Any:
        with _float32_precision(ctx.matmul.precision):
            return backward(ctx, *grads)

    function.forward = staticmethod(precise_forward)  # type: ignore[method-assign]
    function.backward = staticmethod(precise_backward)  # type: ignore[method-assign]
    return function


@in_precision
class _Linear(torch.autograd.Function):
    """N × n inputs times an m × n weight."""

    @staticmethod
    def forward(
        ctx: Any, matmul: Matmul, inputs: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        rounded, weight = inputs.to(matmul.dtype), weight.to(matmul.dtype)
        ctx.save_for_backward(rounded, weight)
        products = (rounded @ weight.t()).to(inputs.dtype)
        return products if bias is None else products.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        inputs, weight = ctx.saved_tensors
        _, wants_inputs, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            None,
            product(grad, weight) if wants_inputs else None,
            product(grad.t(), inputs) if wants_weight else None,
            grad.sum(0) if wants_bias else None,
        )

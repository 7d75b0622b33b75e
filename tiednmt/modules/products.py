"""In what type matrix products are made, and by which library.

``--float32-matmul-precision medium`` lets products round what they multiply to bfloat16. On a CPU
torch does so only where there are AMX instructions; AVX-512 has bfloat16 products too, at twice the
rate of single precision, and these are used here in training. Weights, states, gradients and all
sums outside of a product stay in single precision; what is computed without gradients (validation,
decoding) is not rounded.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tiednmt.kernels import cpu_kernels_for
from tiednmt.processor import is_amd

_allowed = False  # to round


def set_precision(precision: str) -> None:
    """Choose how exact products of single precision are: torch's setting of this name.

    Where the CPU is AMD's, torch's default library (MKL) is slow, and the one that it takes under
    ``medium`` (oneDNN) rounds nothing: it is taken for ``highest`` too.
    """
    global _allowed
    _allowed = precision == "medium"
    exact = precision == "highest" and _has_exact_onednn()
    torch.set_float32_matmul_precision("medium" if exact else precision)


@cache
def _has_exact_onednn() -> bool:
    may_round = getattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    return (
        is_amd()
        and torch.backends.mkldnn.is_available()
        and not may_round()
        and not torch.cuda.is_available()  # whose products the setting would round
    )


def product_type(tensor: Tensor) -> torch.dtype:
    """The type in which to multiply what a gradient is wanted of."""
    rounds = (
        tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and torch.is_grad_enabled()
        and _allowed
        and has_bfloat16_products()
    )
    return torch.bfloat16 if rounds else tensor.dtype


@cache
def has_bfloat16_products() -> bool:
    """Whether this CPU multiplies bfloat16 (AVX512_BF16 or AMX) and torch knows how."""
    instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(instructions() and torch.backends.mkldnn.is_available())


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``, multiplied in :func:`product_type`."""
    kind = product_type(inputs)
    if kind == inputs.dtype:
        return F.linear(inputs, weight, bias)
    result: Tensor = _Linear.apply(inputs.flatten(0, -2), weight, bias, kind)
    return result.unflatten(0, inputs.shape[:-1])


def through(layer: nn.Module, inputs: Tensor) -> Tensor:
    """``layer(inputs)``; multiplied in :func:`product_type` where the layer is ``nn.Linear``."""
    return linear(inputs, layer.weight, layer.bias) if type(layer) is nn.Linear else layer(inputs)


def add_product(addend: Tensor, left: Tensor, right: Tensor, out: Tensor) -> None:
    """``addend + left @ right`` into ``out``, which may be the addend; multiplied in the type of
    ``right``. No gradient flows back.
    """
    if left.dtype == right.dtype:
        torch.addmm(addend, left, right, out=out)
        return
    rounded, kernels = left.to(right.dtype) @ right, cpu_kernels_for(out)
    if kernels:
        kernels.add_rounded(addend, rounded, out)
    else:
        torch.add(addend, rounded, out=out)


def transposed(weight: Tensor) -> Tensor:
    """Of a weight that many small products are made with: they take less time if it is copied."""
    return weight.t().contiguous()


def product(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right``, multiplied in the type of ``right``, given in the type of ``left``."""
    return (left.to(right.dtype) @ right).to(left.dtype)


class _Linear(torch.autograd.Function):
    """N × n inputs times an m × n weight."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, kind: torch.dtype
    ) -> Tensor:
        rounded, weight = inputs.to(kind), weight.to(kind)
        ctx.save_for_backward(rounded, weight)
        products = (rounded @ weight.t()).to(inputs.dtype)
        return products if bias is None else products.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        inputs, weight = ctx.saved_tensors
        wants_inputs, wants_weight, wants_bias, _ = ctx.needs_input_grad
        return (
            product(grad, weight) if wants_inputs else None,
            product(grad.t(), inputs) if wants_weight else None,
            grad.sum(0) if wants_bias else None,
            None,
        )

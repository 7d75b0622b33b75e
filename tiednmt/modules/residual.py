"""The way around a sublayer whose sum is normalised, in one pass over its rows on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tiednmt.kernels import cpu_kernels_for
from tiednmt.modules.dropout import Draw, Dropout, draw


def add_normalised(rows: Tensor, update: Tensor, dropout: Dropout, norm: nn.LayerNorm) -> Tensor:
    """``norm(rows + dropout(update))``, … × dim."""
    # the few rows of a step of decoding are added and normalised before a kernel is called
    kernels = cpu_kernels_for(rows) if torch.is_grad_enabled() else None
    if not kernels or update.dtype != rows.dtype or not _is_plain(norm, rows):
        added: Tensor = norm(rows + dropout(update))
        return added
    drawn = draw(dropout.rate if dropout.drops else 0.0)
    flat = (part.reshape(-1, rows.size(-1)).contiguous() for part in (rows, update))
    result: Tensor = _Added.apply(*flat, norm.weight, norm.bias, norm.eps, drawn)
    return result.view(rows.shape)


def _is_plain(norm: nn.LayerNorm, rows: Tensor) -> bool:
    """Whether gain, bias and ε say all that the norm does to these rows."""
    hooked = norm._forward_hooks or norm._forward_pre_hooks
    whole = type(norm) is nn.LayerNorm and norm.weight is not None and norm.bias is not None
    return whole and not hooked and norm.weight.dtype == rows.dtype


class _Added(torch.autograd.Function):
    """Keeps the sums alone: their moments and what is dropped are found again."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        update: Tensor,
        gain: Tensor,
        bias: Tensor,
        epsilon: float,
        drawn: Draw,
    ) -> Tensor:
        kernels: Any = cpu_kernels_for(rows)
        sums, out = torch.empty_like(rows), torch.empty_like(rows)
        kernels.add_normalised(rows, update, gain, bias, epsilon, sums, out, *drawn)
        ctx.save_for_backward(sums, gain)
        ctx.epsilon, ctx.drawn = epsilon, drawn
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        sums, gain = ctx.saved_tensors
        kernels: Any = cpu_kernels_for(sums)
        grad_rows = torch.empty_like(sums)
        grad_update = torch.empty_like(sums) if ctx.drawn.threshold else grad_rows
        given = (sums, gain, ctx.epsilon, grad.contiguous(), grad_rows, grad_update)
        of_norm = kernels.add_normalised_back(*given, *ctx.drawn)
        return grad_rows, grad_update, *of_norm, None, None

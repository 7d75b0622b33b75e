"""Attention among the rows of sentences, without the padding of their batch, on a CPU.

Sentences are short and heads are narrow, so the cost of attention there is not its products but
bringing queries, keys and values into the shape of a batch and back. The kernel reads them where
the linear layers put them, computes each head of each sentence in the cache, and keeps nothing for
the backward pass, which computes the weights again and draws their dropout again from its seed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tiednmt.kernels import cpu_kernels_for
from tiednmt.kernels.tuning import ATTENTION_TOKENS
from tiednmt.modules.dropout import Dropout, draw
from tiednmt.modules.packing import Packing


def attends_packed(rows: Tensor, *packings: Packing) -> bool:
    """Whether :func:`attend_packed` takes rows like these, and is faster than torch's attention."""
    longest = max(packing.padding.size(1) for packing in packings)
    return longest <= ATTENTION_TOKENS and cpu_kernels_for(rows) is not None


def attend_packed(
    rows: Tensor,
    packing: Packing,
    heads: int,
    source: tuple[Tensor, Packing] | None = None,
    causal: bool = False,
    dropout: Dropout | None = None,
) -> Tensor:
    """The context of each token of ``packing``, N × dim.

    Args:
        rows: queries, N × dim; without ``source``, followed by the keys and values of the same
            tokens, N × 3·dim.
        packing: of the queries.
        heads: a divisor of dim.
        source: keys and values (M × 2·dim) of other sentences, and their packing.
        causal: a token attends to no later one.
        dropout: on the weights.
    """
    read, of_read = source or (None, packing)
    rate = dropout.rate if dropout is not None and dropout.drops_any else 0.0
    how = (packing.starts, of_read.starts, heads, causal, rate)
    context: Tensor = _PackedAttention.apply(rows, read, *how)
    return context


class _PackedAttention(torch.autograd.Function):
    """The autograd function of :func:`attend_packed`; its backward pass draws the dropout again."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        read: Tensor | None,
        starts: Tensor,
        starts_of_read: Tensor,
        heads: int,
        causal: bool,
        rate: float,
    ) -> Tensor:
        kernels: Any = cpu_kernels_for(rows)
        ctx.save_for_backward(rows, read, starts, starts_of_read)
        ctx.how = heads, causal, *draw(rate)
        parts = _parts(rows, read)
        out = torch.empty_like(parts[0], memory_format=torch.contiguous_format)
        kernels.attend_rows(*parts, starts, starts_of_read, out, *ctx.how)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        rows, read, *starts = ctx.saved_tensors
        kernels: Any = cpu_kernels_for(rows)
        grad_rows = torch.empty_like(rows)
        grad_read = None if read is None else torch.empty_like(read)
        kernels.attend_rows_back(
            *_parts(rows, read),
            *starts,
            grad.contiguous(),
            *_parts(grad_rows, grad_read),
            *ctx.how,
        )
        return grad_rows, grad_read, None, None, None, None, None


def _parts(rows: Tensor, read: Tensor | None) -> tuple[Tensor, ...]:
    """Queries, keys and values."""
    return rows.chunk(3, 1) if read is None else (rows, *read.chunk(2, 1))

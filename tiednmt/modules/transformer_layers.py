"""The layers of a Transformer (Vaswani et al. 2017): attention, networks and the ways around them.

See :mod:`tiednmt.modules.transformer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tiednmt.modules.dropout import Dropout
from tiednmt.modules.linear import linear
from tiednmt.modules.multi_head_attention import (
    KeysAndValues,
    Reach,
    SelfAttention,
    SourceAttention,
)
from tiednmt.modules.packing import Packing

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_accurate": partial(F.gelu, approximate="tanh"),
    "tanh": torch.tanh,
    "linear": lambda rows: rows,
}


@dataclass(frozen=True)
class LayerOptions:
    """What all layers of a stack have in common."""

    dim: int
    heads: int  # of attention, each dim / heads wide
    ffn_dim: int
    activation: str = "relu"  # one of ACTIVATIONS
    pre_norm: bool = False  # normalise what a sublayer reads, instead of the sum after it
    dropout: float = 0.0  # on what a sublayer adds
    attention_dropout: float = 0.0  # on the weights of the attention
    activation_dropout: float = 0.0  # after the activation
    owner: str | None = None  # see tiednmt.modules.dropout.Dropping

    @property
    def attention(self) -> tuple[int, int, float, str | None]:
        """The arguments of :class:`SelfAttention` and :class:`SourceAttention`."""
        return self.dim, self.heads, self.attention_dropout, self.owner


class Residual(nn.Module):
    """A way around a sublayer f: norm(x + dropout(f(x))), or x + dropout(f(norm(x)))."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.pre_norm = options.pre_norm
        self.norm = nn.LayerNorm(options.dim)
        self.dropout = Dropout(options.dropout, options.owner)

    def read(self, rows: Tensor) -> Tensor:
        """What the sublayer reads, … × dim."""
        return self.norm(rows) if self.pre_norm else rows

    def add(self, rows: Tensor, update: Tensor) -> Tensor:
        """The rows with what the sublayer made of them, … × dim."""
        rows = rows + self.dropout(update)
        return rows if self.pre_norm else self.norm(rows)


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward network."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.self_attention = SelfAttention(*options.attention)
        self.self_residual = Residual(options)
        self.feed_forward, self.ffn_residual = FeedForward(options), Residual(options)

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """The rows (N × dim) of the tokens of ``packing``."""
        update = self.self_attention(self.self_residual.read(rows), packing)
        return self.feed(self.self_residual.add(rows, update))

    def feed(self, rows: Tensor) -> Tensor:
        """The feed-forward network and the way around it, … × dim."""
        return self.ffn_residual.add(rows, self.feed_forward(self.ffn_residual.read(rows)))


class WindowLayer(EncoderLayer):
    """Self-attention to earlier tokens, feed-forward network."""

    def forward(  # type: ignore[override]
        self, rows: Tensor, packing: Packing, biases: Tensor, past: KeysAndValues | None
    ) -> tuple[Tensor, KeysAndValues]:
        """The rows (N × dim) of the tokens of ``packing``; see :meth:`SelfAttention.over`."""
        before = self.self_residual.read(rows)
        update, reached = self.self_attention.over(past, before, packing, biases)
        return self.feed(self.self_residual.add(rows, update)), reached


class DecoderLayer(EncoderLayer):
    """Self-attention to earlier tokens, attention to the source, feed-forward network."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__(options)
        self.source_attention = SourceAttention(*options.attention)
        self.source_residual = Residual(options)

    def forward(  # type: ignore[override]
        self,
        rows: Tensor,
        packing: Packing,
        source: Tensor,
        source_packing: Packing,
        aligned_heads: int = 0,
    ) -> tuple[Tensor, Tensor | None]:
        """The rows (N × dim) of the tokens of ``packing``; see :class:`SourceAttention`."""
        update = self.self_attention(self.self_residual.read(rows), packing, causal=True)
        rows = self.self_residual.add(rows, update)
        before = self.source_residual.read(rows)
        update, attention = self.source_attention(
            before, packing, source, source_packing, aligned_heads
        )
        return self.feed(self.source_residual.add(rows, update)), attention

    def step(
        self,
        rows: Tensor,
        past: KeysAndValues,
        first: int,
        own: Reach,
        source: KeysAndValues,
        of_source: Reach,
        aligned_heads: int = 0,
    ) -> tuple[Tensor, KeysAndValues, Tensor | None]:
        """The last tokens (B × K × dim), the past with them, and their attention to the source.

        See :meth:`SelfAttention.step` and :meth:`SourceAttention.step`.
        """
        before = self.self_residual.read(rows)
        update, past = self.self_attention.step(before, past, first, own)
        rows = self.self_residual.add(rows, update)
        before = self.source_residual.read(rows)
        update, attention = self.source_attention.step(before, source, of_source, aligned_heads)
        return self.feed(self.source_residual.add(rows, update)), past, attention


class FeedForward(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.up = nn.Linear(options.dim, options.ffn_dim)
        self.activation = options.activation
        self.dropout = Dropout(options.activation_dropout, options.owner)
        self.down = nn.Linear(options.ffn_dim, options.dim)

    def forward(self, rows: Tensor) -> Tensor:
        """… × dim to … × dim."""
        inner = ACTIVATIONS[self.activation](linear(self.up, rows))
        return linear(self.down, self.dropout(inner))

"""The Transformer (Vaswani et al. 2017): over whole batches in training, step by step in search.

A batch goes from layer to layer as the rows of its tokens (N × dim), so that linear layers, norms
and dropout see no padding; attention alone needs the shape of the batch, which
:class:`~tiednmt.modules.packing.Packing` knows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tiednmt.modules.compiled_step import CompiledStep, StepResult, compiled_step
from tiednmt.modules.dropout import Dropout
from tiednmt.modules.frozen_linear import FrozenLinear
from tiednmt.modules.multi_head_attention import (
    KeysAndValues,
    Reach,
    linear_biases,
    merge_heads,
    split_heads,
)
from tiednmt.modules.packing import Packing
from tiednmt.modules.transformer_layers import (
    DecoderLayer,
    EncoderLayer,
    LayerOptions,
    WindowLayer,
)

# --- stacks of layers --------------------------------------------------------------------------


class EncoderStack(nn.Module):
    """Layers in which every token attends to its whole sentence.

    Args:
        layers: how many.
        options: of each.
        layerdrop: probability that a layer is left out in training (Fan et al. 2020).
        checkpointing: recompute the inside of a layer in the backward pass, to save memory.
    """

    def __init__(
        self,
        layers: int,
        options: LayerOptions,
        layerdrop: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(options) for _ in range(layers))
        self.norm = nn.LayerNorm(options.dim) if options.pre_norm else None
        self.layerdrop, self.checkpointing = layerdrop, checkpointing

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """The rows (N × dim) of the tokens of ``packing`` after all layers."""
        for _, layer in _kept_layers(self):
            rows = _run(self, layer, rows, packing)
        return rows if self.norm is None else self.norm(rows)


class WindowStack(nn.Module):
    """Layers in which a token attends to those before it, over the borders of windows too.

    Keys and values of the last tokens are handed from window to window without a gradient, as the
    hidden states of Transformer-XL are (Dai et al. 2019). No position is added to tokens: scores
    fall linearly with the distance (ALiBi, Press et al. 2022), so that what was computed in one
    window holds in the next. With a span, how a text is cut into windows changes no feature.

    Args:
        layers: how many.
        options: of each.
        span: how many tokens before it a token attends to; 0 is all of its window.
        checkpointing: see :class:`EncoderStack`.
    """

    def __init__(
        self, layers: int, options: LayerOptions, span: int = 0, checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(WindowLayer(options) for _ in range(layers))
        self.norm = nn.LayerNorm(options.dim) if options.pre_norm else None
        self.heads, self.span, self.checkpointing = options.heads, span, checkpointing

    def forward(
        self, rows: Tensor, packing: Packing, past: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The rows (N × dim) of the tokens of ``packing`` after all layers.

        Also all keys and all values that the next token attends to, ``past`` of the next window:
        layers × B × heads × length × dim / heads each, as checkpoints keep them.
        """
        length, before = packing.padding.size(1), past[0].size(3) if past else 0
        span = self.span or before + length
        biases = linear_biases(self.heads, length, before, span, rows.device, rows.dtype)
        reached = []
        for i, layer in enumerate(self.layers):
            earlier = KeysAndValues(*(merge_heads(part[i]) for part in past)) if past else None
            rows, both = _run(self, layer, rows, packing, biases, earlier)
            reached.append(both)
        state = tuple(
            torch.stack([split_heads(part[:, -span:].detach(), self.heads) for part in parts])
            for parts in zip(*reached, strict=True)
        )
        return rows if self.norm is None else self.norm(rows), state


class SourceRows(NamedTuple):
    """What the layers of a decoder attend to in training: the source tokens as rows."""

    read: tuple[Tensor, ...]  # keys and values of each layer, N × 2·dim
    packing: Packing


class Source(NamedTuple):
    """What the layers of a decoder attend to in a search, for B sources."""

    read: tuple[KeysAndValues, ...]  # of each layer
    lengths: Tensor  # B
    mask: Tensor | None  # B × 1 × 1 × S, False where there is padding; None: nowhere

    def reach(self, hypotheses: int) -> Reach:
        """All tokens of a source are attended to by each of its hypotheses."""
        places = torch.arange(self.read[0].keys.size(1), device=self.lengths.device)
        places = places.expand(len(self.lengths), hypotheses, -1)
        return Reach(places, self.lengths, lambda: self.mask)


class Past(NamedTuple):
    """The tokens so far of K hypotheses for each of B sources.

    The hypotheses of a source share the slots in which keys and values of their tokens are kept,
    so that none need be copied when hypotheses branch: it suffices to say which slots are whose.
    """

    slots: Tensor  # B × K × t: where each hypothesis' tokens are
    kept: tuple[KeysAndValues, ...]  # of each layer; the length is that of the slots, or more


class DecoderStack(nn.Module):
    """Layers in which a token attends to those before it and to a source.

    Args:
        layers: how many.
        options: of each.
        layerdrop: see :class:`EncoderStack`.
        checkpointing: see :class:`EncoderStack`.
        aligned_layer: the layer whose attention to the source is returned; −1 is the last.
        aligned_heads: how many of its heads are averaged, from the first on; 0 is all.
    """

    def __init__(
        self,
        layers: int,
        options: LayerOptions,
        layerdrop: float = 0.0,
        checkpointing: bool = False,
        aligned_layer: int = -1,
        aligned_heads: int = 0,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(options) for _ in range(layers))
        self.norm = nn.LayerNorm(options.dim) if options.pre_norm else None
        self.layerdrop, self.checkpointing = layerdrop, checkpointing
        self.aligned_layer = range(layers)[aligned_layer]
        self.aligned_heads = aligned_heads or options.heads
        self.compiled: CompiledStep | None = None

    def freeze(self, kind: type[FrozenLinear] | None) -> None:
        """See :meth:`TiedModel.freeze_for_decoding`."""
        self.compiled = None if kind is None else CompiledStep(kind)
        self._renew()  # now, so that processes forked later share the copy

    def _renew(self) -> None:
        if self.compiled is not None:
            self.compiled.renew(self.layers, (self.aligned_layer, self.aligned_heads))

    def read(self, rows: Tensor, packing: Packing) -> SourceRows:
        """What the layers attend to, from an encoder's rows (N × dim)."""
        layers: Any = self.layers
        return SourceRows(tuple(layer.source_attention.read(rows) for layer in layers), packing)

    def forward(
        self, rows: Tensor, packing: Packing, source: SourceRows, align: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """The rows (N × dim) of the tokens of ``packing`` after all layers.

        With ``align`` also the attention to the source, B × T × S.
        """
        attention = None
        for i, layer in _kept_layers(self):
            heads = self.aligned_heads if align and i == self.aligned_layer else 0
            rows, weights = _run(self, layer, rows, packing, source.read[i], source.packing, heads)
            attention = attention if weights is None else weights
        return rows if self.norm is None else self.norm(rows), attention

    def spread(self, source: SourceRows) -> Source:
        """What :meth:`read` computed, in the form that :meth:`step` takes."""
        layers: Any = self.layers
        pairs = zip(layers, source.read, strict=True)
        read = tuple(layer.source_attention.spread(one, source.packing) for layer, one in pairs)
        return Source(read, source.packing.lengths, source.packing.mask)

    def start(self, source: Source) -> Past:
        """The past of one hypothesis for each source before the first token."""
        self._renew()
        empty = [part[:, :0] for part in source.read[0]]
        slots = torch.zeros(len(empty[0]), 1, 0, dtype=torch.int64, device=empty[0].device)
        return Past(slots, tuple(KeysAndValues(*empty) for _ in self.layers))

    def step(self, rows: Tensor, source: Source, past: Past) -> tuple[Tensor, Past, Tensor | None]:
        """The last token (B × K × dim) of K hypotheses for each source after all layers.

        Also returns the past including this token, and the token's attention to the source,
        B × K × S. Slots that no living hypothesis has are reused, so a past can be continued
        only once.
        """
        slots, first = _claim_slots(past.slots, rows.size(1))
        given, weights = (rows, past.kept, slots, first, source), None
        if self.compiled is not None:
            weights = self.compiled.weights_for(rows, source.read[0].keys)
        found = self._step(*given) if weights is None else compiled_step(weights, *given)
        rows, kept, attention = found
        rows = rows if self.norm is None else self.norm(rows)
        return rows, Past(slots, kept), attention

    def _step(
        self,
        rows: Tensor,
        past: tuple[KeysAndValues, ...],
        slots: Tensor,
        first: int,
        source: Source,
    ) -> StepResult:
        """See :func:`compiled_step`."""
        own, of_source = _reach_of_slots(slots, first, rows.dtype), source.reach(rows.size(1))
        kept, attention = [], None
        layers: Any = self.layers
        for i, layer in enumerate(layers):
            heads = self.aligned_heads if i == self.aligned_layer else 0
            rows, now, weights = layer.step(
                rows, past[i], first, own, source.read[i], of_source, heads
            )
            kept.append(now)
            attention = attention if weights is None else weights
        return rows, tuple(kept), attention


def _kept_layers(stack: EncoderStack | DecoderStack) -> Iterator[tuple[int, Any]]:
    """The layers that a batch goes through, with their numbers."""
    drops = stack.training and stack.layerdrop > 0
    chances = torch.rand(len(stack.layers), device="cpu") if drops else None
    for i, layer in enumerate(stack.layers):
        if chances is None or chances[i] >= stack.layerdrop:
            yield i, layer


def _run(stack: EncoderStack | WindowStack | DecoderStack, layer: nn.Module, *given: Any) -> Any:
    if stack.checkpointing and torch.is_grad_enabled():
        return checkpoint(layer, *given, use_reentrant=False)
    return layer(*given)


def _claim_slots(slots: Tensor, hypotheses: int) -> tuple[Tensor, int]:
    """The slots with one more per hypothesis, and the first of the new ones."""
    first = int(slots.amax()) + 1 if slots.numel() else 0
    own = first + torch.arange(hypotheses, device=slots.device)
    return torch.cat((slots, own.expand(len(slots), -1).unsqueeze(2)), 2), first


def _reach_of_slots(slots: Tensor, first: int, dtype: torch.dtype) -> Reach:
    """Each hypothesis attends to its own slots, the last of which are from ``first`` on."""
    batch, hypotheses, length = slots.shape
    used = first + hypotheses

    def mask() -> Tensor | None:
        if used == length:
            return None
        size = batch, hypotheses, used
        hidden = torch.full(size, -math.inf, dtype=dtype, device=slots.device)
        return hidden.scatter_(2, slots, 0.0).unsqueeze(1)

    return Reach(slots, slots.new_full((batch,), length), mask)


# --- what enters the first layer ---------------------------------------------------------------


class InputLayer(nn.Module):
    """Adds positions to what is looked up of tokens, normalises it if asked, and drops.

    Args:
        positions: what is added; None for nothing.
        norm: dim, to normalise the sum; None not to.
        dropout: on the result.
        owner: see :class:`~tiednmt.modules.dropout.Dropping`.
    """

    def __init__(
        self,
        positions: SinusoidalPositions | LearnedPositions | None,
        norm: int | None,
        dropout: float,
        owner: str | None,
    ) -> None:
        super().__init__()
        self.positions = positions
        self.norm = None if norm is None else nn.LayerNorm(norm)
        self.dropout = Dropout(dropout, owner)

    def forward(self, rows: Tensor, positions: Tensor, length: int) -> Tensor:
        """N × dim of tokens at ``positions`` (N), all below ``length``.

        For the tokens of one position, rows are … × dim and ``positions`` is a single number.
        """
        if self.positions is not None:
            rows = rows + F.embedding(positions, self.positions(rows, length))
        if self.norm is not None:
            rows = self.norm(rows)
        return self.dropout(rows)


class SinusoidalPositions(nn.Module):
    """Sines and cosines of the position in the wave lengths of tensor2tensor and fairseq.

    Args:
        first: the number of the first position.
    """

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def forward(self, like: Tensor, length: int) -> Tensor:
        """The rows of ``length`` positions or more, of the kind of ``like`` (… × dim)."""
        roomy = max(64, 1 << (length - 1).bit_length())
        return _sinusoids(self.first, roomy, like.size(-1), like.device, like.dtype)


@cache  # for good: a CUDA graph may read them
def _sinusoids(first: int, rows: int, dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Positions × dim; half sines, half cosines. Not a buffer, which every copy would carry."""
    with torch.inference_mode(False), torch.no_grad():
        half = dim // 2
        lengths = torch.arange(half, dtype=torch.float, device="cpu")
        frequencies = torch.exp(lengths * -(math.log(10_000) / max(half - 1, 1)))
        positions = torch.arange(first, first + rows, dtype=torch.float, device="cpu")
        angles = positions.unsqueeze(1) * frequencies
        waves = F.pad(torch.cat((angles.sin(), angles.cos()), 1), (0, dim % 2))
        return waves.to(device, dtype)


class LearnedPositions(nn.Module):
    """A learned row for each position.

    Args:
        count: of positions.
        dim: numbers per row.
    """

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, dim).normal_(std=dim**-0.5))

    def forward(self, like: Tensor, length: int) -> Tensor:
        """All rows, count × dim."""
        return self.weight

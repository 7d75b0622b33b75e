"""A step of a Transformer's decoder as one compiled kernel, for few hypotheses of a small model.

torch takes longer to call the operations of such a step than to run them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from tiednmt.kernels import cpu_kernels_for
from tiednmt.kernels.tuning import COMPILED_STEP_NUMBERS, COMPILED_STEP_WEIGHTS
from tiednmt.modules.dropout import Dropout
from tiednmt.modules.frozen_linear import Frozen, FrozenLinear
from tiednmt.modules.linear import is_hooked
from tiednmt.modules.multi_head_attention import (
    KeysAndValues,
    SelfAttention,
    SourceAttention,
    with_room,
)
from tiednmt.modules.transformer_layers import DecoderLayer, FeedForward, Residual

T = TypeVar("T")

# the tokens after all layers, keys and values of each layer with theirs, attention to the source
StepResult = tuple[Tensor, tuple[KeysAndValues, ...], Tensor | None]


class CompiledStep:
    """When a decoder's steps are the kernel's, and the copy of the weights that it reads.

    Copies of a model, and its pickles, start without that copy.

    Args:
        kind: of the copy of each weight.
    """

    def __init__(self, kind: type[FrozenLinear]) -> None:
        self._kind = kind
        self._made_for: Any = None
        self._copy: Frozen[Any]
        self._weights: Any = None

    def renew(self, layers: nn.ModuleList, aligned: tuple[int, int]) -> None:
        """Copy the weights again if they have changed, and see whether the kernel takes them.

        Args:
            layers: of the decoder.
            aligned: the layer whose attention to the source is returned, and how many of its heads.
        """
        layout = _only(map(_layout, layers))
        if layout is None:
            self._weights = None
            return
        if (layout, aligned) != self._made_for:
            self._copy = Frozen(partial(_weights_of, self._kind, layout, aligned))
            self._made_for = layout, aligned
        parts = [part for layer in layers for part in _parts(layer)]
        self._weights = self._copy(*(one for part in parts for one in (part.weight, part.bias)))

    def weights_for(self, rows: Tensor, keys: Tensor) -> Any:
        """The weights, if the kernel computes a step of these tokens, and in less time; else None.

        Args:
            rows: the tokens, B × K × dim.
            keys: of the sources.
        """
        weights = self._weights  # read once, as another thread may begin a search
        if weights is None or torch.is_grad_enabled() or rows.numel() > COMPILED_STEP_NUMBERS:
            return None
        return weights if weights.dtype is rows.dtype is keys.dtype else None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._kind,)


def compiled_step(
    weights: Any,
    rows: Tensor,
    past: tuple[KeysAndValues, ...],
    slots: Tensor,
    first: int,
    source: Any,
) -> StepResult:
    """The tokens (B × K × dim) after the layers, the past with them, and their attention.

    See :meth:`DecoderStack.step`; ``slots`` are those of ``past`` and the tokens, which stand from
    ``first`` on.
    """
    kernels, count = cpu_kernels_for(rows), rows.size(1)
    assert kernels is not None
    past = tuple(KeysAndValues(*(with_room(part, first, count) for part in one)) for one in past)
    given = rows, weights, past, slots, first, source.read, source.lengths
    rows, attention = kernels.decoder_step(*given)
    return rows, past, attention


# --- which layers the kernel computes ------------------------------------------------------------


class _Layout(NamedTuple):
    """What the kernel must know of a layer besides its weights."""

    heads: int
    pre_norm: bool
    eps: float


def _layout(layer: Any) -> _Layout | None:
    """None if the layer computes something else than the kernel, or is too large for it."""
    if not _are(DecoderLayer, layer):
        return None
    own, source, network = layer.self_attention, layer.source_attention, layer.feed_forward
    ways_around = layer.self_residual, layer.source_residual, layer.ffn_residual
    kinds = SelfAttention, SourceAttention, FeedForward
    if not (all(map(_are, kinds, (own, source, network))) and _are(Residual, *ways_around)):
        return None
    drops = [part.dropout for part in (own, source, network, *ways_around)]
    norms = [way_around.norm for way_around in ways_around]
    linears = own.qkv, own.out, source.query, source.out, network.up, network.down
    if not (_are(Dropout, *drops) and _are(nn.LayerNorm, *norms) and _are(nn.Linear, *linears)):
        return None
    numbers = sum(part.weight.numel() for part in linears)
    if network.activation != "relu" or numbers > COMPILED_STEP_WEIGHTS:
        return None
    if any(drop.drops_any for drop in drops) or own.heads != source.heads:
        return None
    return _only(_Layout(own.heads, one.pre_norm, one.norm.eps) for one in ways_around)


def _are(kind: type[nn.Module], *modules: nn.Module) -> bool:
    """Whether modules compute just what their class says."""
    return all(type(module) is kind and not is_hooked(module) for module in modules)


def _only(found: Iterable[T]) -> T | None:
    """What all of them are, if they are alike."""
    different = set(found)
    return different.pop() if len(different) == 1 else None


def _parts(layer: Any) -> tuple[Any, ...]:
    """What has weights, in the order of the kernel."""
    own, source, network = layer.self_attention, layer.source_attention, layer.feed_forward
    return (
        *(own.qkv, own.out, layer.self_residual.norm),
        *(source.query, source.out, layer.source_residual.norm),
        *(network.up, network.down, layer.ffn_residual.norm),
    )


def _weights_of(
    kind: type[FrozenLinear], layout: _Layout, aligned: tuple[int, int], *parameters: Tensor | None
) -> Any:
    """What the kernel reads; None if it reads no such weights.

    ``parameters`` are weight and bias of each part.
    """
    given = [parameter for parameter in parameters if parameter is not None]
    kernels = cpu_kernels_for(given[0])
    if kernels is None or len(given) < len(parameters):
        return None
    parts = [
        (*(kind.factor(weight) if weight.dim() == 2 else (weight, None)), bias)
        for weight, bias in zip(given[::2], given[1::2], strict=True)
    ]
    try:
        return kernels.DecoderWeights(parts, *layout, aligned)
    except ValueError:  # other shapes, such as those of pruned layers, or long sums of int8
        return None

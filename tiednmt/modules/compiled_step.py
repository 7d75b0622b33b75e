"""A step of a Transformer's decoder as one compiled kernel, for few hypotheses of a small model.

torch takes longer to call the operations of such a step than to run them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tiednmt.kernels import cpu_kernels_for
from tiednmt.kernels.tuning import COMPILED_STEP_NUMBERS, COMPILED_STEP_WEIGHTS
from tiednmt.modules.frozen_linear import Frozen, FrozenLinear
from tiednmt.modules.linear import is_hooked
from tiednmt.modules.multi_head_attention import KeysAndValues, with_room

# the tokens after all layers, keys and values of each layer with theirs, attention to the source
Step = tuple[Tensor, tuple[KeysAndValues, ...], Tensor | None]
Part = tuple[Tensor, Tensor, Tensor | None]  # of a layer: weight, bias and scale of the kernel
_PARTS = 9


class CompiledStep:
    """The steps of a stack by the kernel, with a copy of the weights.

    Copies of a model, and its pickles, start without that copy.

    Args:
        stack: a :class:`~tiednmt.modules.transformer.DecoderStack` of layers with ReLU.
        kind: of the copy of each weight.
    """

    def __init__(self, stack: Any, kind: type[FrozenLinear]) -> None:
        self._stack, self._kind = stack, kind
        self._copy: Frozen[Any] = Frozen(partial(_weights_of, kind))
        self._weights: Any = None

    def renew(self) -> None:
        """Copy the weights again if they have changed, and see whether the kernel can be used."""
        layers = self._stack.layers
        parts = [part for layer in layers for part in _parts(layer)]
        drops = any(dropout.drops_any for layer in layers for dropout in _dropouts(layer))
        weights = None
        if not drops and all(map(_is_plain, parts)) and not torch.is_grad_enabled():
            weights = self._copy(*(one for part in parts for one in (part.weight, part.bias)))
        self._weights = weights  # at once, as another thread may be within a search

    def takes(self, rows: Tensor) -> bool:
        """Whether the kernel computes the step of these tokens (B × K × dim), and in less time."""
        few = rows.numel() <= COMPILED_STEP_NUMBERS
        found = few and self._weights is not None and self._weights.dtype is rows.dtype
        return found and not torch.is_grad_enabled()

    def __call__(
        self,
        rows: Tensor,
        past: tuple[KeysAndValues, ...],
        slots: Tensor,
        first: int,
        source: Any,
    ) -> Step:
        """The tokens (B × K × dim) after the layers, the past with them, and their attention.

        See :meth:`DecoderStack.step`; ``slots`` are those of ``past`` and the tokens, which stand
        from ``first`` on.
        """
        stack, kernels = self._stack, cpu_kernels_for(rows)
        assert kernels is not None
        count = rows.size(1)
        past = tuple(
            KeysAndValues(*(with_room(part, first, count) for part in one)) for one in past
        )
        layer = stack.layers[0]
        rows, attention = kernels.decoder_step(
            rows,
            self._weights,
            past,
            slots,
            first,
            source.read,
            source.lengths,
            layer.self_attention.heads,
            (stack.aligned_layer, stack.aligned_heads),
            layer.self_residual.pre_norm,
            layer.self_residual.norm.eps,
        )
        return rows, past, attention

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._stack, self._kind)


def _parts(layer: Any) -> tuple[Any, ...]:
    """What has weights, in the order of the kernel."""
    own, source, network = layer.self_attention, layer.source_attention, layer.feed_forward
    return (
        *(own.qkv, own.out, layer.self_residual.norm),
        *(source.query, source.out, layer.source_residual.norm),
        *(network.up, network.down, layer.ffn_residual.norm),
    )


def _dropouts(layer: Any) -> list[Any]:
    residuals = layer.self_residual, layer.source_residual, layer.ffn_residual
    parts = layer.self_attention, layer.source_attention, layer.feed_forward, *residuals
    return [part.dropout for part in parts]


def _is_plain(part: nn.Module) -> bool:
    """Whether a part computes just what its weight and bias say."""
    return type(part) in (nn.Linear, nn.LayerNorm) and not is_hooked(part)


def _weights_of(kind: type[FrozenLinear], *parameters: Tensor) -> Any:
    """What the kernel reads; None if there is none for them, or if they are too many."""
    kernels = cpu_kernels_for(parameters[0])
    of_layer = 2 * _PARTS
    numbers = sum(parameter.numel() for parameter in parameters[:of_layer])
    if kernels is None or numbers > COMPILED_STEP_WEIGHTS:
        return None
    parts = [_part(kind, *pair) for pair in zip(parameters[::2], parameters[1::2], strict=True)]
    longest = max((len(weight[0]) for weight, _, scale in parts if scale is not None), default=0)
    if longest > kernels.DecoderWeights.LONGEST_WHOLE:
        return None
    layers = [parts[start : start + _PARTS] for start in range(0, len(parts), _PARTS)]
    return kernels.DecoderWeights(layers)


def _part(kind: type[FrozenLinear], weight: Tensor, bias: Tensor) -> Part:
    factor, scale = kind.factor(weight) if weight.dim() == 2 else (weight, None)
    return factor, bias, scale

"""A step of a Transformer's decoder as one compiled kernel, for few hypotheses of a small model.

torch takes longer to call the operations of such a step than to run them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tiednmt.kernels import cpu_kernels_for
from tiednmt.kernels.tuning import COMPILED_STEP_NUMBERS, COMPILED_STEP_WEIGHTS
from tiednmt.modules.frozen_linear import Frozen
from tiednmt.modules.linear import is_hooked
from tiednmt.modules.multi_head_attention import KeysAndValues, with_room

# the tokens after all layers, keys and values of each layer with theirs, attention to the source
Step = tuple[Tensor, tuple[KeysAndValues, ...], Tensor | None]
_PARTS = 9  # of a layer: products and norms


class CompiledStep:
    """The steps of a stack by the kernel, with a copy of the weights.

    Copies of a model, and its pickles, start without that copy.

    Args:
        stack: a :class:`~tiednmt.modules.transformer.DecoderStack` of layers with ReLU.
    """

    def __init__(self, stack: Any) -> None:
        self._stack = stack
        self._copy: Frozen[Any] = Frozen(_weights_of)
        self._weights: Any = None

    def renew(self) -> None:
        """Copy the weights again if they have changed, and see whether the kernel can be used."""
        layers = self._stack.layers
        parts = [part for layer in layers for part in _parts(layer)]
        drops = any(dropout.drops_any for layer in layers for dropout in _dropouts(layer))
        self._weights = None
        if not drops and all(map(_is_plain, parts)) and not torch.is_grad_enabled():
            self._weights = self._copy(*(one for part in parts for one in (part.weight, part.bias)))

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
        return type(self), (self._stack,)


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


def _weights_of(*parameters: Tensor) -> Any:
    """What the kernel reads; None if there is none for them, or if they are too many."""
    kernels = cpu_kernels_for(parameters[0])
    pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
    layers = [pairs[start : start + _PARTS] for start in range(0, len(pairs), _PARTS)]
    numbers = sum(one.numel() for pair in layers[0] for one in pair)
    if kernels is None or numbers > COMPILED_STEP_WEIGHTS:
        return None
    return kernels.DecoderWeights(layers)

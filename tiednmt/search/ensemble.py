"""Several decoders that beam search sees as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tiednmt.modules.output_layer import OutputLayer
from tiednmt.search.stepper import StepOutput, Stepper, Tree


class Ensemble:
    """A :class:`Stepper` of several, which need not be alike.

    At every step the probabilities are the mean of theirs, and so is the attention, as in fairseq.

    Args:
        steppers: the decoders.
        layers: the output layer of each.
    """

    def __init__(self, steppers: Sequence[Stepper], layers: Sequence[OutputLayer]) -> None:
        self._steppers, self._layers = steppers, layers

    def start(self, encoder_out: Sequence[Any]) -> tuple[Tree, Tree]:
        """Memories and states, one of each decoder, for what each encoder returned."""
        starts = [
            stepper.start(one) for stepper, one in zip(self._steppers, encoder_out, strict=True)
        ]
        memories, states = zip(*starts, strict=True)
        return memories, states

    def step(self, tokens: Tensor, memory: Tree, state: Tree, position: int) -> StepOutput:
        """As :meth:`Stepper.step`; the features are those of all decoders side by side."""
        outputs = [
            stepper.step(tokens, of_memory, of_state, position)
            for stepper, of_memory, of_state in zip(self._steppers, memory, state, strict=True)
        ]
        features = torch.cat([output.features for output in outputs], -1)
        given = [output.attention for output in outputs if output.attention is not None]
        attention = sum(given[1:], given[0]) / len(outputs) if given else None
        return StepOutput(features, tuple(output.state for output in outputs), attention)

    def score(self, features: Tensor) -> Tensor:
        """The logarithm of the mean probabilities, … × vocabulary."""
        parts = features.split([layer.dim for layer in self._layers], -1)
        each = [
            # side by side, features have the widest dtype of all models
            layer(part.to(layer.bias.dtype)).float().log_softmax(-1)
            for layer, part in zip(self._layers, parts, strict=True)
        ]
        return torch.stack(each).logsumexp(0) - math.log(len(each))

"""Global attention with the score "general" (Luong et al. 2015, section 3.1), as in fairseq's lstm.

For a state s and the annotations a_1 … a_S of a source::

    e_i = (W_q s) · a_i    c = Σ_i softmax(e)_i a_i    o = tanh(W_c c + W_s s)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tiednmt.modules.frozen_linear import Frozen, FrozenLinear, frozen_value
from tiednmt.modules.linear import is_plain, linear, matmul_of, multiply
from tiednmt.modules.lstm import initialise_lstm
from tiednmt.modules.packing import pad_steps, unpad_steps


class GeneralMemory(NamedTuple):
    """What the attention reads of B sources of length S."""

    annotations: Tensor  # B × S × annotation
    padding: Tensor  # B × S, True where there is none; no row may be all True


class GeneralStepMemory(NamedTuple):
    """What the steps of a decoder attend to, for B sources of length S."""

    keys: Tensor  # B × S × hidden: W_qᵀ a_i
    values: Tensor  # B × S × hidden: W_c a_i
    padding: Tensor  # as in GeneralMemory


class GeneralAttention(nn.Module):
    """Attention whose layers are torch's own, or whatever was put in their place.

    Args:
        hidden_size: size of a state, and of o.
        annotation_size: size of an annotation.
    """

    def __init__(self, hidden_size: int, annotation_size: int) -> None:
        super().__init__()
        self.annotation_size = annotation_size
        self.query = nn.Linear(hidden_size, annotation_size, bias=False)
        self.mix = nn.Linear(annotation_size + hidden_size, hidden_size, bias=False)
        self.frozen: Frozen[FrozenLinear | None] | None = None
        initialise_lstm(self)

    @property
    def is_plain(self) -> bool:
        """Whether every layer computes just what its weights say, without hooks or wrappers."""
        return is_plain(self.query) and is_plain(self.mix)

    @property
    def state_weight(self) -> Tensor:
        """W_s, hidden × hidden; the layers must be plain."""
        return self.mix.weight[:, self.annotation_size :]

    def prepare(self, memory: GeneralMemory) -> GeneralStepMemory | GeneralMemory:
        """What the steps of a decoder attend to.

        If the layers are plain, the products of W_q and W_c with the annotations are computed here
        (a context is a mean of annotations), once per source instead of per hypothesis and step.
        """
        if not self.is_plain:
            return memory
        annotations, matmul = memory.annotations, matmul_of(self, memory.annotations)
        of_context = self.mix.weight[:, : self.annotation_size]
        return GeneralStepMemory(
            multiply(annotations, self.query.weight.t(), None, matmul),
            multiply(annotations, of_context, None, matmul),
            memory.padding,
        )

    def forward(
        self, states: Tensor, memory: GeneralStepMemory | GeneralMemory
    ) -> tuple[Tensor, Tensor]:
        """o (B × K × hidden) and the attention (B × K × S) of K states for each of B sources.

        No gradient flows back through the attention.
        """
        if isinstance(memory, GeneralMemory):
            attention, contexts = _look_up(linear(self.query, states), memory.annotations, *memory)
            return self._mix(contexts, states), attention.detach()
        attention, mixed = _look_up(states, *memory)
        return torch.tanh(mixed + self._from_states(states)), attention.detach()

    def over_steps(
        self, states: Tensor, sizes: Sequence[int], memory: GeneralMemory
    ) -> tuple[Tensor, Tensor]:
        """o (N × hidden) and the attention (N × S) of the states of all steps (N × hidden).

        Step t has ``sizes[t]`` of them, those of the first sources.
        """
        queries = pad_steps(linear(self.query, states), sizes)
        attention, contexts = _look_up(queries, memory.annotations, *memory)
        outputs = self._mix(unpad_steps(contexts, sizes), states)
        return outputs, unpad_steps(attention.detach(), sizes)

    def _mix(self, contexts: Tensor, states: Tensor) -> Tensor:
        return torch.tanh(linear(self.mix, torch.cat((contexts, states), -1)))

    def _from_states(self, states: Tensor) -> Tensor:
        """W_s s: what the states add to o."""
        frozen = frozen_value(self.frozen, self.mix.weight)
        if frozen is not None:
            return frozen(states)
        return multiply(states, self.state_weight, None, matmul_of(self, states))

    def freeze(self, kind: type[FrozenLinear] | None) -> None:
        """Let steps multiply with a copy of W_s, or (``None``) with W_s itself.

        The copy serves where no gradient is recorded.
        """
        self.frozen = None
        if kind is not None and self.is_plain:
            make = partial(_frozen_columns, kind, self.annotation_size)
            self.frozen = Frozen(make, self.mix.weight)


def _look_up(
    queries: Tensor, keys: Tensor, values: Tensor, padding: Tensor
) -> tuple[Tensor, Tensor]:
    """Attention (B × T × S) of queries (B × T × n), and weighted means of values (B × S × m)."""
    scores = torch.bmm(queries, keys.transpose(1, 2))
    attention = scores.masked_fill(padding.unsqueeze(1), -math.inf).softmax(2)
    return attention, torch.bmm(attention, values)


def _frozen_columns(kind: type[FrozenLinear], first: int, weight: Tensor) -> FrozenLinear | None:
    return kind.of(weight[:, first:].contiguous())

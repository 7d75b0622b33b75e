"""The attentional decoder of Luong et al. (2015) over a whole target sequence, as fairseq has it.

For target step t, with y the embedded previous token::

    s_t = LSTM([y_t; o_{t-1}], s_{t-1})    of one or more layers; o_{t-1} is the input feeding
    o_t = attention of s_t over the source (general_attention.py)

Without input feeding, the LSTM does not depend on the attention, so each of the two is one
operation over all steps. With it there is a loop over steps: what does not depend on the previous
step is one product before the loop, and the backward pass is written by hand, so that the weight
gradients are one product over all steps too. If a part of the attention is not torch's own layer
(quantised, wrapped by an adapter), the steps call it and leave the backward pass to autograd.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tiednmt.modules.additive_attention import times
from tiednmt.modules.dropout import Dropping, dropout
from tiednmt.modules.frozen_linear import Frozen, FrozenLinear, frozen_value
from tiednmt.modules.general_attention import GeneralAttention, GeneralMemory, GeneralStepMemory
from tiednmt.modules.linear import (
    Matmul,
    add_product,
    in_precision,
    matmul_of,
    multiply,
    product,
    put_product,
    transposed_copy,
)
from tiednmt.modules.lstm import LSTMSteps, transition
from tiednmt.modules.packed_lstm import PackedLSTM
from tiednmt.modules.packing import packed, pad_steps, steps


class LSTMState(NamedTuple):
    """What a step reads of the steps before it; … is B or B × K."""

    hidden: tuple[Tensor, ...]  # of each layer, … × hidden
    cells: tuple[Tensor, ...]  # of each layer, … × hidden
    feed: Tensor | None  # o, … × hidden, where it is fed back

    def of_first(self, count: int) -> LSTMState:
        """The state of the first ``count`` sentences."""
        hidden, cells = (tuple(part[:count] for part in parts) for parts in self[:2])
        return LSTMState(hidden, cells, None if self.feed is None else self.feed[:count])


class AttentionalLSTMOutput(NamedTuple):
    """What the decoder yields for N target tokens over sources of length S."""

    outputs: Tensor  # N × hidden: o, after its dropout
    attention: Tensor | None  # N × S, rows sum to one; no gradient flows back through it


class Step(NamedTuple):
    """What a step of K hypotheses for each of B sources yields."""

    outputs: Tensor  # B × K × hidden: o, after its dropout
    state: LSTMState
    attention: Tensor | None  # B × K × S


class _Weights(NamedTuple):
    """Recurrent weights, in the order autograd sees them."""

    state: Tensor  # W_s, hidden × hidden
    joined: tuple[Tensor, ...]  # of each layer, 4·hidden × 2·hidden: from below, and its own state
    biases: tuple[Tensor, ...]  # of each layer but the first, 4·hidden

    @classmethod
    def of(cls, weights: Sequence[Tensor]) -> _Weights:
        """The weights from the flat list that autograd passes."""
        layers = len(weights) // 2
        return cls(weights[0], tuple(weights[1 : layers + 1]), tuple(weights[layers + 1 :]))

    def to(self, dtype: torch.dtype) -> _Weights:
        """The matrices in another dtype."""
        joined = tuple(weight.to(dtype) for weight in self.joined)
        return self._replace(state=self.state.to(dtype), joined=joined)


@in_precision
class _AttentionalLSTMSteps(torch.autograd.Function):
    """The loop over target steps with input feeding, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any,
        matmul: Matmul,
        sizes: tuple[int, ...],
        masks: Tensor | None,
        inputs: Tensor,
        keys: Tensor,
        values: Tensor,
        padding: Tensor,
        hidden: Tensor,
        cells: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        w = _Weights.of(weights).to(matmul.dtype)
        layers, width = len(hidden), hidden.size(2)
        lstm = [LSTMSteps(torch.empty_like(inputs)) for _ in range(layers)]
        states = inputs.new_empty(layers, len(inputs), width)
        joined = inputs.new_empty(layers, len(inputs), 2 * width)
        raw = torch.empty_like(states[0])  # o before its dropout
        outputs = raw if masks is None else torch.empty_like(raw)
        attention = inputs.new_empty(len(inputs), keys.size(1))
        to_gates, to_output = [*map(transposed_copy, w.joined)], transposed_copy(w.state)
        state, cell, feed = list(hidden), list(cells), torch.zeros_like(hidden[0])
        for rows, size in steps(sizes):
            below = feed[:size]
            for i in range(layers):
                joined[i, rows, :width] = below
                joined[i, rows, width:] = state[i][:size]
                addend = w.biases[i - 1] if i else inputs[rows]
                add_product(addend, joined[i, rows], to_gates[i], out=lstm[i].gates[rows])
                cell[i] = lstm[i].step(rows, cell[i][:size], out=states[i, rows])
                below = state[i] = states[i, rows]
                if masks is not None and i < layers - 1:
                    below = below * masks[i, rows]
            scores = times(below, keys[:size].transpose(1, 2))
            torch.softmax(scores.masked_fill_(padding[:size], -math.inf), 1, out=attention[rows])
            context = times(attention[rows], values[:size])
            add_product(context, below, to_output, out=raw[rows])
            raw[rows].tanh_()
            if masks is not None:
                torch.mul(raw[rows], masks[-1, rows], out=outputs[rows])
            feed = outputs[rows]
        ctx.save_for_backward(keys, values, hidden, states, joined, raw, attention, *weights)
        ctx.sizes, ctx.masks, ctx.lstm = sizes, masks, lstm
        ctx.mark_non_differentiable(attention)
        return outputs, attention

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, _: Tensor) -> Any:
        keys, values, hidden, states, joined, raw, attention, *weights = ctx.saved_tensors
        dtype, sizes, masks, lstm = ctx.matmul.dtype, ctx.sizes, ctx.masks, ctx.lstm
        w = _Weights.of(weights).to(dtype)
        layers, batch, width = hidden.shape
        for layer in lstm:
            layer.start_back()
        # of the inputs of each layer at the following step: from below, and its own state
        grad_joined = hidden.new_zeros(layers, batch, 2 * width)
        grad_cells = torch.zeros_like(hidden)
        grad_raw, grad_scores = torch.empty_like(raw), torch.empty_like(attention)
        for rows, size in reversed(steps(sizes)):
            grad = grad_joined[0, :size, :width] + grad_outputs[rows]
            if masks is not None:
                grad *= masks[-1, rows]
            torch.addcmul(grad, grad * raw[rows], raw[rows], value=-1, out=grad_raw[rows])
            share = times(grad_raw[rows], values[:size].transpose(1, 2)).mul_(attention[rows])
            total = share.sum(1, keepdim=True)
            torch.addcmul(share, attention[rows], total, value=-1, out=grad_scores[rows])
            grad_below = times(grad_scores[rows], keys[:size])
            add_product(grad_below, grad_raw[rows], w.state, out=grad_below)
            for i in reversed(range(layers)):
                grad = grad_joined[i, :size, width:] + grad_below
                from_gates = lstm[i].step_back(rows, grad, grad_cells[i, :size])
                put_product(from_gates, w.joined[i], out=grad_joined[i, :size])
                grad_below = grad_joined[i, :size, :width]
                if masks is not None and i:
                    grad_below = grad_below * masks[i - 1, rows]
        of_weights = [product(grad_raw.t(), states[-1].to(dtype))]
        for layer, read in zip(lstm, joined, strict=True):
            of_weights.append(product(layer.grad_gates.t(), read.to(dtype)))
        of_weights += [layer.grad_gates.sum(0) for layer in lstm[1:]]
        return (
            None,
            None,
            None,
            lstm[0].grad_gates,
            _times_steps(grad_scores, states[-1], sizes),
            _times_steps(attention, grad_raw, sizes),
            None,
            grad_joined[:, :, width:],
            grad_cells,
            *of_weights,
        )


def _times_steps(left: Tensor, right: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Σ_t left_t right_tᵀ of each sentence, B × S × n, from N × S and N × n."""
    return torch.bmm(pad_steps(left, sizes).transpose(1, 2), pad_steps(right, sizes))


class AttentionalLSTM(Dropping):
    """LSTM layers, attention over the source, and input feeding.

    Args:
        input_size: size of an embedded target token.
        annotation_size: size of an annotation.
        hidden_size: size of the state of each layer, and of the output o.
        layers: number of layers.
        attention: attend to the source; otherwise o is the state of the last layer.
        input_feeding: let the first layer read o of the step before.
        dropout: between layers, and on o.
        owner: see :class:`~tiednmt.modules.dropout.Dropping`.
    """

    def __init__(
        self,
        input_size: int,
        annotation_size: int,
        hidden_size: int,
        layers: int = 1,
        *,
        attention: bool = True,
        input_feeding: bool = True,
        dropout: float = 0.0,
        owner: str | None = None,
    ) -> None:
        super().__init__(owner)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.input_feeding = input_feeding
        self.dropout = dropout
        read = input_size + hidden_size if input_feeding else input_size
        self.rnn = PackedLSTM(read, hidden_size, layers, dropout=dropout, owner=owner)
        self.attention = GeneralAttention(hidden_size, annotation_size) if attention else None
        self.frozen: list[Frozen[FrozenLinear | None]] | None = None

    # --- whole sequences -----------------------------------------------------------------------

    def forward(
        self,
        embedded: Tensor,
        sizes: Sequence[int],
        memory: GeneralMemory,
        hidden: Tensor,
        cells: Tensor,
    ) -> AttentionalLSTMOutput:
        """Run all target steps.

        Args:
            embedded: previous target tokens of all steps, one step after another, N × input.
            sizes: how many tokens each step has, those of the first sentences: B of them at the
                first step, never more than at the step before; N together.
            memory: of the B sources.
            hidden: states before the first step, layers × B × hidden.
            cells: likewise.
        """
        if not self.input_feeding:
            states = self.rnn(packed(embedded, sizes), (hidden, cells))[0].data
            if self.attention is None:
                return AttentionalLSTMOutput(self._drop(states), None)
            outputs, attention = self.attention.over_steps(states, sizes, memory)
            return AttentionalLSTMOutput(self._drop(outputs), attention)
        attended = self.prepare(memory)
        if isinstance(attended, GeneralMemory):
            return self._forward_by_steps(embedded, sizes, attended, self.state_of(hidden, cells))
        outcome = _AttentionalLSTMSteps.apply(
            matmul_of(self, embedded),
            tuple(sizes),
            self._masks(embedded),
            self.from_token(embedded),
            *attended,
            hidden,
            cells,
            *self._weights(),
        )
        return AttentionalLSTMOutput(*outcome)

    def _forward_by_steps(
        self, embedded: Tensor, sizes: Sequence[int], memory: GeneralMemory, state: LSTMState
    ) -> AttentionalLSTMOutput:
        """:meth:`forward` with input feeding, calling the parts at each step."""
        from_token, outcomes = self.from_token(embedded).unsqueeze(1), []
        for rows, size in steps(sizes):
            running = GeneralMemory(*(part[:size] for part in memory))
            outcomes.append(self.step(from_token[rows], running, state.of_first(size)))
            state = outcomes[-1].state
        outputs = torch.cat([step.outputs.squeeze(1) for step in outcomes])
        attention = [step.attention.squeeze(1) for step in outcomes if step.attention is not None]
        return AttentionalLSTMOutput(outputs, torch.cat(attention) if attention else None)

    def _masks(self, embedded: Tensor) -> Tensor | None:
        """Dropout masks between the layers and on o, layers × N × hidden."""
        if not self.drops or not self.dropout:
            return None
        shape = self.rnn.num_layers, len(embedded), self.hidden_size
        return dropout(embedded.new_ones(shape), self.dropout)

    def _weights(self) -> list[Tensor]:
        """The flat list of weights, in the order of :class:`_Weights`."""
        assert self.attention is not None
        layers = [_joined(self._skipped(i), *self.rnn.parameters_of(i)) for i in self._layers]
        weights, biases = zip(*layers, strict=True)
        return [self.attention.state_weight, *weights, *biases[1:]]

    @property
    def _layers(self) -> range:
        return range(self.rnn.num_layers)

    def _skipped(self, layer: int) -> int:
        """How many inputs of a layer :meth:`from_token` has already multiplied, for all steps."""
        return 0 if layer else self.input_size

    # --- step by step --------------------------------------------------------------------------

    def state_of(self, hidden: Tensor, cells: Tensor) -> LSTMState:
        """The state of B × 1 hypotheses before the first step, from layers × B × hidden each."""
        states, first_cells = (tuple(part.unsqueeze(2)) for part in (hidden, cells))
        return LSTMState(
            states, first_cells, torch.zeros_like(states[0]) if self.input_feeding else None
        )

    def from_token(self, embedded: Tensor) -> Tensor:
        """What previous target tokens (… × input) add to the first layer's gates, … × 4·hidden."""
        weight, _, bias_ih, bias_hh = self.rnn.parameters_of(0)
        matmul = matmul_of(self, embedded)
        return multiply(embedded, weight[:, : self.input_size], bias_ih + bias_hh, matmul)

    def prepare(self, memory: GeneralMemory) -> GeneralStepMemory | GeneralMemory:
        """What :meth:`step` attends to; see :meth:`GeneralAttention.prepare`."""
        return memory if self.attention is None else self.attention.prepare(memory)

    def step(
        self, from_token: Tensor, memory: GeneralStepMemory | GeneralMemory, state: LSTMState
    ) -> Step:
        """Run one step of K hypotheses for each of the B sources.

        Args:
            from_token: :meth:`from_token` of the previous target tokens, B × K × 4·hidden.
            memory: of the B sources, which their hypotheses share.
            state: leaves B × K × hidden.
        """
        hidden: list[Tensor] = []
        cells: list[Tensor] = []
        for i in self._layers:
            below = self._drop(hidden[-1]) if i else state.feed
            read = state.hidden[i] if below is None else torch.cat((below, state.hidden[i]), -1)
            gates = self._gates(i, read)
            after, cell = transition(gates if i else gates + from_token, state.cells[i])
            hidden.append(after)
            cells.append(cell)
        outputs, attention = hidden[-1], None
        if self.attention is not None:
            outputs, attention = self.attention(outputs, memory)
        outputs = self._drop(outputs)
        feed = outputs if self.input_feeding else None
        return Step(outputs, LSTMState(tuple(hidden), tuple(cells), feed), attention)

    def _gates(self, layer: int, read: Tensor) -> Tensor:
        """A layer's gates without :meth:`from_token`, from its input and its state side by side."""
        parameters = self.rnn.parameters_of(layer)
        frozen = frozen_value(self.frozen[layer] if self.frozen else None, *parameters)
        if frozen is not None:
            return frozen(read)
        return multiply(read, *_joined(self._skipped(layer), *parameters), matmul_of(self, read))

    def _drop(self, tensor: Tensor) -> Tensor:
        return dropout(tensor, self.dropout, self.drops)

    def freeze(self, kind: type[FrozenLinear] | None) -> None:
        """Let :meth:`step` multiply with copies of the layers, or (``None``) with themselves.

        The copies serve where no gradient is recorded.
        """
        self.frozen = None
        if kind is not None:
            self.frozen = [
                Frozen(partial(_frozen_layer, kind, self._skipped(i)), *self.rnn.parameters_of(i))
                for i in self._layers
            ]


def _joined(
    skipped: int, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
) -> tuple[Tensor, Tensor | None]:
    """A layer as one matrix, without the skipped inputs, and its bias if nothing is skipped."""
    weight = torch.cat((weight_ih[:, skipped:], weight_hh), 1)
    return weight, None if skipped else bias_ih + bias_hh


def _frozen_layer(
    kind: type[FrozenLinear], skipped: int, *parameters: Tensor
) -> FrozenLinear | None:
    return kind.of(*_joined(skipped, *parameters))

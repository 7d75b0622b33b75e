"""torch's LSTM over sentences of different lengths, trained with fewer and larger products.

:mod:`tiednmt.modules.bidirectional_gru` says why; this is the same for the LSTM, in one direction
or both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

from tiednmt.modules.dropout import Dropping, dropout
from tiednmt.modules.linear import (
    Matmul,
    add_product,
    in_precision,
    matmul_of,
    multiply,
    product,
    put_product,
    set_cudnn_precision,
    transposed_copy,
)
from tiednmt.modules.lstm import LSTMSteps, initialise_lstm
from tiednmt.modules.packing import last_rows, mirror, states_before, steps

LayerState = tuple[Tensor, Tensor]  # states and cells, layers · directions × B × hidden


class PackedLSTM(nn.LSTM, Dropping):
    """``torch.nn.LSTM`` over packed sequences, with its parameters; a GPU uses its kernels.

    Args:
        input_size: size of the first layer's input.
        hidden_size: of each direction.
        layers: number of layers.
        bidirectional: whether sentences are also read backwards.
        dropout: between layers.
        owner: see :class:`~tiednmt.modules.dropout.Dropping`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        owner: str | None = None,
    ) -> None:
        between = dropout if layers > 1 else 0.0
        nn.LSTM.__init__(
            self, input_size, hidden_size, layers, dropout=between, bidirectional=bidirectional
        )
        self.owner = owner
        initialise_lstm(self)

    def forward(  # type: ignore[override]
        self, packed: PackedSequence, state: LayerState | None = None
    ) -> tuple[PackedSequence, LayerState]:
        """The states of all rows, directions side by side, and the final state of each sentence.

        Without ``state`` the first step starts from zeros.
        """
        directions = 2 if self.bidirectional else 1
        if state is None:
            count = self.num_layers * directions
            zeros = packed.data.new_zeros(count, int(packed.batch_sizes[0]), self.hidden_size)
            state = zeros, zeros
        elif packed.sorted_indices is not None:
            state = _ordered(state, packed.sorted_indices)
        if packed.data.is_cuda or not torch.is_grad_enabled():
            set_cudnn_precision(self, packed.data)
            rows, *left = torch.lstm(
                packed.data,
                packed.batch_sizes,
                state,
                self._flat_weights,  # type: ignore[arg-type]
                has_biases=True,
                num_layers=self.num_layers,
                dropout=self.dropout,
                train=self.drops,
                bidirectional=self.bidirectional,
            )
        else:
            rows, *left = self._run(packed, state, directions)
        after = left[0], left[1]
        if packed.unsorted_indices is not None:
            after = _ordered(after, packed.unsorted_indices)
        return packed._replace(data=rows), after

    def parameters_of(self, layer: int, direction: str = "") -> list[Tensor]:
        """A layer's input weights, hidden weights and their two biases, in torch's order.

        ``direction`` is empty, or ``_reverse``.
        """
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [getattr(self, f"{name}_l{layer}{direction}") for name in names]

    def _run(
        self, packed: PackedSequence, state: LayerState, directions: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        sizes, rows = tuple(packed.batch_sizes.tolist()), packed.data
        last = last_rows(packed.batch_sizes).to(rows.device)
        mirrored = mirror(packed.batch_sizes) if self.bidirectional else None
        before = zip(*(part.split(directions) for part in state), strict=True)
        left = []
        for i, (hidden, cells) in enumerate(before):
            if i:
                rows = dropout(rows, self.dropout, self.drops)
            rows, *after = self._layer(i, rows, sizes, last, mirrored, hidden, cells)
            left.append(after)
        hidden, cells = map(torch.cat, zip(*left, strict=True))
        return rows, hidden, cells

    def _layer(
        self,
        i: int,
        rows: Tensor,
        sizes: tuple[int, ...],
        last: Tensor,
        mirrored: Tensor | None,
        hidden: Tensor,
        cells: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The rows of a layer, and its final states and cells (directions × B × hidden)."""
        read = (rows,) if mirrored is None else (rows, rows[mirrored])
        matmul = matmul_of(self, rows)
        inputs, recurrent = [], []
        for in_order, direction in zip(read, ("", "_reverse"), strict=False):
            weight, weight_hh, bias_ih, bias_hh = self.parameters_of(i, direction)
            inputs.append(multiply(in_order, weight, bias_ih + bias_hh, matmul))
            recurrent.append(weight_hh)
        together = map(_of_directions, (inputs, recurrent))
        states, hidden, cells = _PackedLSTMSteps.apply(
            matmul, sizes, last, *together, hidden, cells
        )
        if mirrored is None:
            return states[0], hidden, cells
        return torch.cat((states[0], states[1][mirrored]), 1), hidden, cells


@in_precision
class _PackedLSTMSteps(torch.autograd.Function):
    """The loop over the steps of one or both directions."""

    @staticmethod
    def forward(
        ctx: Any,
        matmul: Matmul,
        sizes: tuple[int, ...],
        last: Tensor,
        inputs: Tensor,
        weights: Tensor,
        hidden: Tensor,
        cells: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        weights = weights.to(matmul.dtype)
        lstm = LSTMSteps(torch.empty_like(inputs))
        states = torch.empty_like(lstm.cells)
        to_gates = [transposed_copy(weight) for weight in weights]
        state, cell = hidden, cells
        for rows, size in steps(sizes):
            state, cell = state[:, :size], cell[:, :size]
            for d, weight in enumerate(to_gates):
                add_product(inputs[d, rows], state[d], weight, out=lstm.gates[d, rows])
            cell = lstm.step(rows, cell, out=states[:, rows])
            state = states[:, rows]
        ctx.save_for_backward(states, weights, hidden)
        ctx.sizes, ctx.lstm = sizes, lstm
        return states, states[:, last], lstm.cells[:, last]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor, grad_last: Tensor, grad_cells: Tensor) -> Any:
        states, weights, hidden = ctx.saved_tensors
        sizes, lstm = ctx.sizes, ctx.lstm
        before = states_before(hidden, states, sizes)
        lstm.start_back()
        # until the loop reaches a sentence's last step, the gradients of its final state wait here
        grad_before, grad_cells = grad_last.clone(), grad_cells.clone()
        for rows, size in reversed(steps(sizes)):
            grad = grad_before[:, :size]
            grad += grad_states[:, rows]
            from_gates = lstm.step_back(rows, grad, grad_cells[:, :size])
            for d, weight in enumerate(weights):
                put_product(from_gates[d], weight, out=grad[d])
        grad_weights = product(lstm.grad_gates.transpose(1, 2), before.to(weights.dtype))
        return None, None, None, lstm.grad_gates, grad_weights, grad_before, grad_cells


def _of_directions(tensors: list[Tensor]) -> Tensor:
    return torch.stack(tensors) if len(tensors) > 1 else tensors[0].unsqueeze(0)


def _ordered(state: LayerState, order: Tensor) -> LayerState:
    hidden, cells = (part.index_select(1, order) for part in state)
    return hidden, cells

"""torch's bidirectional GRU, trained with fewer and larger products.

On a CPU, torch runs one direction after the other, and its backward pass adds to the gradients of
the weights and of all inputs at every step. Here both directions share one loop whose backward pass
is written by hand: the products with the inputs, and the weight gradients, are one product over all
steps. :mod:`tiednmt.modules.packed_lstm` does the same for the LSTM.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

from tiednmt.modules.dropout import Dropping, dropout
from tiednmt.modules.gru import GRUSteps, initialise_gru
from tiednmt.modules.linear import (
    Matmul,
    add_product,
    in_precision,
    matmul_of,
    multiply,
    product,
    set_cudnn_precision,
    transposed_copy,
)
from tiednmt.modules.packing import mirror, mirror_padded, states_before, steps


class BidirectionalGRU(nn.GRU, Dropping):
    """``torch.nn.GRU`` in both directions, with its parameters; a GPU uses its kernels (cuDNN).

    Args:
        input_size: size of the first layer's input.
        hidden_size: of each direction.
        layers: number of layers.
        dropout: between layers.
        owner: see :class:`~tiednmt.modules.dropout.Dropping`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        layers: int = 1,
        dropout: float = 0.0,
        owner: str | None = None,
    ) -> None:
        between = dropout if layers > 1 else 0.0
        nn.GRU.__init__(self, input_size, hidden_size, layers, dropout=between, bidirectional=True)
        self.owner = owner
        initialise_gru(self)

    def forward(self, packed: PackedSequence) -> PackedSequence:  # type: ignore[override]
        """The states of both directions, 2·hidden for every row of ``packed``."""
        if not self._drops_in_evaluation and (packed.data.is_cuda or not torch.is_grad_enabled()):
            set_cudnn_precision(self, packed.data)
            return nn.GRU.forward(self, packed)[0]
        sizes = tuple(packed.batch_sizes.tolist())
        return packed._replace(data=self._layers(packed.data, sizes, mirror(packed.batch_sizes)))

    def over_padded(self, embedded: Tensor, padding: Tensor) -> Tensor:
        """The states (B × S × 2·hidden) of a batch whose padding stays.

        Args:
            embedded: S × B × input.
            padding: B × S, on the right.
        """
        length, batch = embedded.shape[:2]
        mirrored = mirror_padded(padding)
        rows = self._layers(embedded.flatten(0, 1), (batch,) * length, mirrored)
        states = rows.unflatten(0, (length, batch)).transpose(0, 1)
        return states.masked_fill(padding.unsqueeze(2), 0.0)

    def _layers(self, rows: Tensor, sizes: tuple[int, ...], mirrored: Tensor) -> Tensor:
        for i in range(self.num_layers):
            if i:
                rows = dropout(rows, self.dropout, self.drops)
            rows = self._layer(i, rows, sizes, mirrored)
        return rows

    @property
    def _drops_in_evaluation(self) -> bool:
        """Whether evaluation retains dropout, which torch's GRU cannot do."""
        return self.retained and self.dropout > 0 and not self.training

    def _layer(self, i: int, rows: Tensor, sizes: tuple[int, ...], mirrored: Tensor) -> Tensor:
        directions = [
            [getattr(self, f"{name}_l{i}{direction}") for direction in ("", "_reverse")]
            for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
        ]
        both = rows, rows[mirrored]
        matmul = matmul_of(self, rows)
        inputs = torch.stack(
            [
                multiply(read, weight, bias, matmul)
                for read, weight, bias in zip(both, *directions[:2], strict=True)
            ]
        )
        recurrent = map(torch.stack, directions[2:])
        forth, back = _BidirectionalGRUSteps.apply(matmul, sizes, inputs, *recurrent)
        return torch.cat((forth, back[mirrored]), 1)


@in_precision
class _BidirectionalGRUSteps(torch.autograd.Function):
    """The loop over the steps of both directions, from states of zero."""

    @staticmethod
    def forward(
        ctx: Any,
        matmul: Matmul,
        sizes: tuple[int, ...],
        inputs: Tensor,
        weights: Tensor,
        biases: Tensor,
    ) -> Tensor:
        hidden, weights = weights.size(2), weights.to(matmul.dtype)
        states = inputs.new_empty(*inputs.shape[:2], hidden)
        gru = GRUSteps(torch.empty_like(inputs))
        to_gates = [transposed_copy(weight) for weight in weights]
        state = inputs.new_zeros(len(inputs), sizes[0], hidden)
        for rows, size in steps(sizes):
            state = state[:, :size]
            for d, (weight, bias) in enumerate(zip(to_gates, biases, strict=True)):
                add_product(bias, state[d], weight, out=gru.gates[d, rows])
            gru.step(rows, inputs[:, rows], state, out=states[:, rows])
            state = states[:, rows]
        ctx.save_for_backward(states, weights)
        ctx.sizes, ctx.gru = sizes, gru
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> Any:
        states, weights = ctx.saved_tensors
        sizes, gru = ctx.sizes, ctx.gru
        grad_before = torch.zeros_like(states[:, : sizes[0]])
        before = states_before(grad_before, states, sizes)  # zeros are also the first states
        gru.start_back(before)
        grad_from_states = torch.empty_like(gru.gates)
        for rows, size in reversed(steps(sizes)):
            grad, from_states = grad_before[:, :size], grad_from_states[:, rows]
            grad += grad_states[:, rows]
            gru.step_back(rows, grad, from_states)
            for d, weight in enumerate(weights):
                add_product(grad[d], from_states[d], weight, out=grad[d])
        grad_weights = product(grad_from_states.transpose(1, 2), before.to(weights.dtype))
        return None, None, gru.from_input, grad_weights, grad_from_states.sum(1)

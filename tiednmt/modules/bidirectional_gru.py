"""torch's bidirectional GRU, several products of whose training are one.

torch's own runs a direction after the other on a CPU, and its backward pass adds to the gradients
of the weights and of all inputs at every step. Here both directions are one loop whose backward
pass is written by hand: the products with the inputs and the weight gradients are one over all
steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

from tiednmt.modules.dropout import dropout
from tiednmt.modules.gru import Transition, initialise_gru, states_before, steps
from tiednmt.modules.products import add_product, linear, product, product_type, transposed


class BidirectionalGRU(nn.GRU):
    """``torch.nn.GRU`` in both directions, with its parameters; on a GPU also its kernels (cuDNN).

    Args:
        input_size: size of the first layer's input.
        hidden_size: of each direction.
        layers: number of layers.
        dropout: on what one layer hands to the next.
    """

    def __init__(
        self, input_size: int, hidden_size: int, layers: int = 1, dropout: float = 0.0
    ) -> None:
        between = dropout if layers > 1 else 0.0
        super().__init__(input_size, hidden_size, layers, dropout=between, bidirectional=True)
        initialise_gru(self)

    def forward(self, packed: PackedSequence) -> PackedSequence:  # type: ignore[override]
        """The states of both directions, 2·hidden for every row of ``packed``."""
        if packed.data.is_cuda or not torch.is_grad_enabled():
            return super().forward(packed)[0]
        sizes = tuple(packed.batch_sizes.tolist())
        mirrored = mirror(packed.batch_sizes)
        rows = packed.data
        for i in range(self.num_layers):
            if i:
                rows = dropout(rows, self.dropout, self.training)
            rows = self._layer(i, rows, sizes, mirrored)
        return packed._replace(data=rows)

    def _layer(self, i: int, rows: Tensor, sizes: tuple[int, ...], mirrored: Tensor) -> Tensor:
        directions = [
            [getattr(self, f"{name}_l{i}{direction}") for direction in ("", "_reverse")]
            for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
        ]
        both = rows, rows[mirrored]
        inputs = torch.stack(
            [linear(*of_one) for of_one in zip(both, *directions[:2], strict=True)]
        )
        recurrent = map(torch.stack, directions[2:])
        forth, back = _Recurrence.apply(sizes, product_type(rows), inputs, *recurrent)
        return torch.cat((forth, back[mirrored]), 1)


def mirror(sizes: Tensor) -> Tensor:
    """Where each row of a packed sequence (``sizes``: rows a step) stands once every sentence is
    read backwards.
    """
    starts = sizes.cumsum(0) - sizes
    step = torch.arange(len(sizes)).repeat_interleave(sizes)
    sentence = torch.arange(len(step)) - starts[step]
    lengths = (sizes.unsqueeze(1) > torch.arange(int(sizes[0]))).sum(0)
    return starts[lengths[sentence] - 1 - step] + sentence


class _Recurrence(torch.autograd.Function):
    """The loop over the steps of both directions, from states of zero."""

    @staticmethod
    def forward(
        ctx: Any,
        sizes: tuple[int, ...],
        kind: torch.dtype,
        inputs: Tensor,
        weights: Tensor,
        biases: Tensor,
    ) -> Tensor:
        hidden, weights = weights.size(2), weights.to(kind)
        states = inputs.new_empty(*inputs.shape[:2], hidden)
        transition = Transition(torch.empty_like(inputs))
        to_gates = [transposed(weight) for weight in weights]
        state = inputs.new_zeros(len(inputs), sizes[0], hidden)
        for rows, size in steps(sizes):
            state = state[:, :size]
            for d, (weight, bias) in enumerate(zip(to_gates, biases, strict=True)):
                add_product(bias, state[d], weight, out=transition.gates[d, rows])
            transition.step(rows, inputs[:, rows], state, out=states[:, rows])
            state = states[:, rows]
        ctx.save_for_backward(states, weights)
        ctx.sizes, ctx.transition = sizes, transition
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> Any:
        states, weights = ctx.saved_tensors
        sizes, transition = ctx.sizes, ctx.transition
        grad_before = torch.zeros_like(states[:, : sizes[0]])
        before = states_before(grad_before, states, sizes)  # zeros are also the first states
        transition.start_back(before)
        grad_from_states = torch.empty_like(transition.gates)
        for rows, size in reversed(steps(sizes)):
            grad, from_states = grad_before[:, :size], grad_from_states[:, rows]
            grad += grad_states[:, rows]
            transition.step_back(rows, grad, from_states)
            for d, weight in enumerate(weights):
                add_product(grad[d], from_states[d], weight, out=grad[d])
        grad_weights = product(grad_from_states.transpose(1, 2), before.to(weights.dtype))
        return None, None, transition.from_input, grad_weights, grad_from_states.sum(1)

"""An LSTM over a window whose recurrent connections are dropped; its backward pass is by hand.

Gal & Ghahramani (2016): the mask m of a stream is the same at every step of the window, and another
for every stream. torch's fused kernels know no such mask: the gates' sums are x + U (m · h_{t-1}).

x = W x_t + b is the caller's, one matrix product over all steps; so are the weight gradients here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tiednmt.modules.linear import Matmul, add_product, in_precision, product, transposed_copy
from tiednmt.modules.lstm import LSTMSteps
from tiednmt.modules.packing import steps


def masked_lstm(
    matmul: Matmul, inputs: Tensor, weight: Tensor, mask: Tensor, state: tuple[Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Run all steps.

    Args:
        matmul: how products are computed.
        inputs: x of all steps, T × B × 4·hidden, gates in torch's order.
        weight: U, 4·hidden × hidden.
        mask: m, B × hidden; no gradient flows back to it.
        state: h and c before the first step, each B × hidden.

    Returns:
        h of all steps (T × B × hidden), and h and c after the last.
    """
    states, cell = _MaskedLSTMSteps.apply(matmul, inputs, weight, mask, *state)
    return states, (states[-1], cell)


@in_precision
class _MaskedLSTMSteps(torch.autograd.Function):
    """The loop over the steps, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any,
        matmul: Matmul,
        inputs: Tensor,
        weight: Tensor,
        mask: Tensor,
        hidden: Tensor,
        cell: Tensor,
    ) -> tuple[Tensor, Tensor]:
        sizes = (inputs.size(1),) * len(inputs)
        rows_of_inputs = inputs.flatten(0, 1)
        lstm = LSTMSteps(torch.empty_like(rows_of_inputs))
        masked, states = (inputs.new_empty(len(rows_of_inputs), cell.size(1)) for _ in range(2))
        to_gates = transposed_copy(weight.to(matmul.dtype))
        for rows, _ in steps(sizes):
            torch.mul(hidden, mask, out=masked[rows])
            add_product(rows_of_inputs[rows], masked[rows], to_gates, out=lstm.gates[rows])
            cell = lstm.step(rows, cell, out=states[rows])
            hidden = states[rows]
        ctx.save_for_backward(weight, mask, masked)
        ctx.lstm, ctx.sizes = lstm, sizes
        return states.unflatten(0, inputs.shape[:2]), cell.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor, grad_cell: Tensor) -> Any:
        weight, mask, masked = ctx.saved_tensors
        dtype, lstm = ctx.matmul.dtype, ctx.lstm
        weight = weight.to(dtype)
        lstm.start_back()
        grad_states, grad_cell = grad_states.flatten(0, 1), grad_cell.clone()
        grad_hidden = torch.zeros_like(grad_cell)
        for rows, _ in reversed(steps(ctx.sizes)):
            grad_hidden += grad_states[rows]
            grad_gates = lstm.step_back(rows, grad_hidden, grad_cell)
            grad_hidden = product(grad_gates, weight).mul_(mask)
        grad_weight = product(lstm.grad_gates.t(), masked.to(dtype))
        grad_inputs = lstm.grad_gates.unflatten(0, (len(ctx.sizes), -1))
        return None, grad_inputs, grad_weight, None, grad_hidden, grad_cell

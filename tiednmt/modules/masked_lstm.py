"""An LSTM over a window whose recurrent connections are dropped; its backward pass is by hand.

Gal & Ghahramani (2016): the mask m of a stream is the same at every step of the window, and another
for every stream. torch's fused kernels know no such mask::

    i, f, g, o = x + U (m · h_{t-1})    c = σ(f) · c_{t-1} + σ(i) · tanh(g)    h = σ(o) · tanh(c)

x = W x_t + b is the caller's, one matrix product over all steps; so are the weight gradients here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tiednmt.modules.linear import Matmul, add_product, in_precision, product, transposed_copy


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
    states, cell = _Recurrence.apply(matmul, inputs, weight, mask, *state)
    return states, (states[-1], cell)


@in_precision
class _Recurrence(torch.autograd.Function):
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
        gates = torch.empty_like(inputs)
        masked, states, cells = (inputs.new_empty(len(inputs), *cell.shape) for _ in range(3))
        to_gates, first = transposed_copy(weight.to(matmul.dtype)), cell
        for t, x in enumerate(inputs):
            torch.mul(hidden, mask, out=masked[t])
            add_product(x, masked[t], to_gates, out=gates[t])
            enter, forget, candidate, leave = gates[t].chunk(4, 1)
            for gate in (enter, forget, leave):
                gate.sigmoid_()
            candidate.tanh_()
            torch.mul(forget, cell, out=cells[t]).addcmul_(enter, candidate)
            cell = cells[t]
            hidden = torch.mul(leave, cell.tanh(), out=states[t])
        ctx.save_for_backward(weight, mask, first, gates, masked, cells)
        return states, cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor, grad_cell: Tensor) -> Any:
        weight, mask, first, gates, masked, cells = ctx.saved_tensors
        dtype, grad_gates = ctx.matmul.dtype, torch.empty_like(gates)
        weight = weight.to(dtype)
        grad_hidden = torch.zeros_like(first)
        for t in reversed(range(len(gates))):
            enter, forget, candidate, leave = gates[t].chunk(4, 1)
            squashed = cells[t].tanh()
            grad_hidden = grad_hidden + grad_states[t]
            grad_cell = grad_cell + grad_hidden * leave * (1 - squashed.square())
            to_enter, to_forget, to_candidate, to_leave = grad_gates[t].chunk(4, 1)
            before = cells[t - 1] if t else first
            torch.mul(grad_cell * candidate, enter * (1 - enter), out=to_enter)
            torch.mul(grad_cell * before, forget * (1 - forget), out=to_forget)
            torch.mul(grad_cell * enter, 1 - candidate.square(), out=to_candidate)
            torch.mul(grad_hidden * squashed, leave * (1 - leave), out=to_leave)
            grad_cell = grad_cell * forget
            grad_hidden = product(grad_gates[t], weight) * mask
        flat = grad_gates.flatten(0, 1)
        grad_weight = product(flat.t(), masked.flatten(0, 1).to(dtype))
        return None, grad_gates, grad_weight, None, grad_hidden, grad_cell

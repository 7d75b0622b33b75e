"""A long short-term memory step by step, with a backward pass written by hand.

That of Hochreiter & Schmidhuber (1997) with forget gates, in the order of ``torch.nn.LSTM``::

    i, f, g, o = x + U h_{t-1}    c = σ(f) · c_{t-1} + σ(i) · tanh(g)    h = σ(o) · tanh(c)

The gates' sums x + U h_{t-1} are the caller's: it knows which products are one over all steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tiednmt.kernels import decoding_kernels_for, kernels_for

INITIAL_RANGE = 0.1  # of fairseq's lstm


class LSTMSteps:
    """The steps of an LSTM, and what their backward pass needs.

    The steps lie one after another as the rows of one matrix (or of several side by side), each
    with the rows of the sentences that have not ended (as in torch's ``PackedSequence``).

    Args:
        gates: … × N × 4·hidden for the N rows of all steps; the sums must be in a step's rows when
            it runs, which puts σ(i), σ(f), tanh(g) and σ(o) in their place.
    """

    def __init__(self, gates: Tensor) -> None:
        self.gates = gates
        self.cells = gates.new_empty(*gates.shape[:-1], gates.size(-1) // 4)
        self.grad_gates = gates.new_empty(0)
        self._before: dict[int, Tensor] = {}  # cells before each step, by its first row
        self.kernels = kernels_for(gates)

    def step(self, rows: slice, before: Tensor, out: Tensor) -> Tensor:
        """Run the step of these rows: put the state after it into ``out``.

        Args:
            rows: of the step, k of them.
            before: cells before it, … × k × hidden.
            out: … × k × hidden.

        Returns:
            The cells after it.
        """
        gates, cells = self.gates[..., rows, :], self.cells[..., rows, :]
        self._before[rows.start] = before
        if self.kernels:
            self.kernels.lstm_step(gates, before, cells, out)
            return cells
        enter, forget, candidate, leave = gates.chunk(4, -1)
        for gate in (enter, forget, leave):
            gate.sigmoid_()
        candidate.tanh_()
        torch.mul(forget, before, out=cells).addcmul_(enter, candidate)
        torch.mul(leave, cells.tanh(), out=out)
        return cells

    def start_back(self) -> None:
        """Prepare the gradient of the gates' sums of all steps."""
        self.grad_gates = torch.empty_like(self.gates)

    def step_back(self, rows: slice, grad: Tensor, grad_cell: Tensor) -> Tensor:
        """Go back through the step of these rows.

        Args:
            rows: of the step, k of them.
            grad: gradient of the state after it, … × k × hidden.
            grad_cell: that of the cells after it, which becomes that of the cells before it.

        Returns:
            The gradient of the gates' sums.
        """
        gates, cells, into = (
            of_all[..., rows, :] for of_all in (self.gates, self.cells, self.grad_gates)
        )
        before = self._before[rows.start]
        if self.kernels:
            self.kernels.lstm_step_back(gates, before, cells, grad, grad_cell, into)
            return into
        enter, forget, candidate, leave = gates.chunk(4, -1)
        to_enter, to_forget, to_candidate, to_leave = into.chunk(4, -1)
        squashed = cells.tanh()
        grad_cell.add_(grad * leave * (1 - squashed.square()))
        torch.mul(grad_cell * candidate, enter * (1 - enter), out=to_enter)
        torch.mul(grad_cell * before, forget * (1 - forget), out=to_forget)
        torch.mul(grad_cell * enter, 1 - candidate.square(), out=to_candidate)
        torch.mul(grad * squashed, leave * (1 - leave), out=to_leave)
        grad_cell.mul_(forget)
        return into


def transition(gates: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """State and cells after one step, … × hidden, with nothing kept for a backward pass by hand.

    Given are the gates' sums (… × 4·hidden), which may be overwritten, and the cells before it.
    """
    kernels = decoding_kernels_for(before)
    if kernels:
        state, cells = torch.empty_like(before), torch.empty_like(before)
        kernels.lstm_step(gates, before, cells, state)
        return state, cells
    enter, forget, candidate, leave = gates.chunk(4, -1)
    cells = forget.sigmoid() * before + enter.sigmoid() * candidate.tanh()
    return leave.sigmoid() * cells.tanh(), cells


def initialise_lstm(module: nn.Module) -> None:
    """Draw all parameters of a module from ±0.1, as fairseq's ``lstm`` does."""
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -INITIAL_RANGE, INITIAL_RANGE)

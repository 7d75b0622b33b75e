"""A gated recurrent unit step by step, with a backward pass written by hand.

The form is that of ``torch.nn.GRUCell`` and cuDNN (the reset gate acts on the projected state)::

    r = σ(x_r + h_r)    u = σ(x_u + h_u)    n = tanh(x_n + r · h_n)    h' = n + u · (h − n)

with x = W x_t + b and h = U h_{t-1} + c, both computed by the caller: it knows which of them can be
one matrix product over all steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tiednmt.kernels import decoding_kernels_for, kernels_for


class GRUSteps:
    """The steps of a GRU, and what their backward pass needs.

    The steps lie one after another as the rows of one matrix (or of several side by side), each
    with the rows of the sentences that have not ended (as in torch's ``PackedSequence``). Two
    buffers of 3·hidden columns serve for all:

    =============  ====================  ==================  ==========================
    buffer         before the step       after the step      after the step back
    =============  ====================  ==================  ==========================
    ``gates``      h: h_r, h_u, h_n      r, u, h_n           the same
    ``from_input`` (made for going back) derivatives         gradient of x
    =============  ====================  ==================  ==========================

    Args:
        gates: … × N × 3·hidden for the N rows of all steps; the state's projection must be in a
            step's rows when it runs.
    """

    def __init__(self, gates: Tensor) -> None:
        self.hidden = gates.size(-1) // 3
        self.gates = gates
        self.candidates = gates.new_empty(*gates.shape[:-1], self.hidden)
        self.before = self.from_input = gates.new_empty(0)
        self.kernels = kernels_for(gates)

    def step(self, rows: slice, from_input: Tensor, state: Tensor, out: Tensor) -> None:
        """Run the step of these rows: put the state after it into ``out``.

        Given are x (… × k × 3·hidden) and the state before.
        """
        gates, candidate = self.gates[..., rows, :], self.candidates[..., rows, :]
        if self.kernels:
            self.kernels.step(gates, candidate, from_input, state, out)
            return
        two = 2 * self.hidden
        gates[..., :two].add_(from_input[..., :two]).sigmoid_()
        reset, update, recurrent = gates.chunk(3, -1)
        torch.addcmul(from_input[..., two:], reset, recurrent, out=candidate).tanh_()
        torch.lerp(candidate, state, update, out=out)

    def start_back(self, before: Tensor) -> None:
        """Prepare the gradient of x of all steps; ``before`` holds the states before each."""
        self.before, self.from_input = before, torch.empty_like(self.gates)
        if not self.kernels:
            self._differentiate()

    def _differentiate(self) -> None:
        """Put derivatives of all steps where the gradients will be."""
        reset, update, recurrent = self.gates.chunk(3, -1)
        candidate = self.candidates
        to_reset, to_update, to_candidate = self.from_input.chunk(3, -1)
        torch.mul(recurrent, reset, out=to_reset).addcmul_(to_reset, reset, value=-1)
        torch.neg(update, out=to_candidate).add_(1)
        torch.sub(self.before, candidate, out=to_update).mul_(update).mul_(to_candidate)
        to_candidate.addcmul_(candidate.square(), to_candidate, value=-1)

    def step_back(self, rows: slice, grad: Tensor, from_state: Tensor) -> Tensor:
        """Go back through the step of these rows from ``grad``, the gradient of the state after it.

        Writes the gradient of the state's projection into ``from_state`` (… × k × 3·hidden); leaves
        in ``grad`` the part of the gradient of the state before the step that does not go through
        its projection.

        Returns:
            The gradient of x.
        """
        from_input = self.from_input[..., rows, :]
        if self.kernels:
            kept = (self.gates, self.candidates, self.before)
            of_rows = (of_all[..., rows, :] for of_all in kept)
            self.kernels.step_back(*of_rows, grad, from_input, from_state)
            return from_input
        two = 2 * self.hidden
        reset = self.gates[..., rows, : self.hidden]
        update = self.gates[..., rows, self.hidden : two]
        grad_reset, grad_update, grad_candidate = from_input.chunk(3, -1)
        grad_candidate.mul_(grad)
        grad_update.mul_(grad)
        grad_reset.mul_(grad_candidate)
        from_state[..., :two] = from_input[..., :two]
        torch.mul(grad_candidate, reset, out=from_state[..., two:])
        grad.mul_(update)
        return from_input


def transition(from_input: Tensor, from_state: Tensor, state: Tensor) -> Tensor:
    """The state after one step, B × K × hidden, with nothing kept for a backward pass by hand.

    Given are x and h (B × K × 3·hidden), of which h may be overwritten, and the state before it.
    """
    kernels = decoding_kernels_for(state)
    if kernels:
        after, candidate = torch.empty_like(state), torch.empty_like(state)
        kernels.step(from_state, candidate, from_input, state, after)
        return after
    two = 2 * state.size(-1)
    gates = (from_input[..., :two] + from_state[..., :two]).sigmoid_()
    reset, update = gates.chunk(2, -1)
    candidate = torch.addcmul(from_input[..., two:], reset, from_state[..., two:]).tanh_()
    return torch.lerp(candidate, state, update)


def initialise_gru(gru: nn.Module) -> None:
    """Initialise a ``GRU`` or ``GRUCell``: orthogonal hidden blocks, Xavier input, zero biases."""
    for name, parameter in gru.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
            continue
        initialise = nn.init.orthogonal_ if "weight_hh" in name else nn.init.xavier_uniform_
        for gate in parameter.data.chunk(3):
            initialise(gate)

"""A gated recurrent unit step by step, with a backward pass written by hand.

The form is that of ``torch.nn.GRUCell`` and cuDNN (the reset gate acts on the projected state)::

    r = σ(x_r + h_r)    u = σ(x_u + h_u)    n = tanh(x_n + r · h_n)    h' = n + u · (h − n)

with x = W x_t + b and h = U h_{t-1} + c, both computed by the caller: it knows which of them can be
one matrix product over all steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Transition:
    """The steps of a GRU over T time steps, and what their backward pass needs.

    The state's projection of a step becomes the step's gates where it stands: it then holds r, u
    and h_n.

    Args:
        gates: T × … × 3·hidden; the state's projection must be in ``gates[t]`` when step t runs.
    """

    def __init__(self, gates: Tensor) -> None:
        self.hidden = gates.size(-1) // 3
        self.gates = gates
        self.candidates = gates.new_empty(*gates.shape[:-1], self.hidden)
        self.slopes = gates.new_empty(0)

    def step(self, t: int, from_input: Tensor, state: Tensor, out: Tensor) -> None:
        """Put the state after step t into ``out``, given x (… × 3·hidden) and the state before."""
        two, gates = 2 * self.hidden, self.gates[t]
        gates[..., :two].add_(from_input[..., :two]).sigmoid_()
        reset, update, recurrent = gates.chunk(3, -1)
        candidate = self.candidates[t]
        torch.addcmul(from_input[..., two:], reset, recurrent, out=candidate).tanh_()
        torch.lerp(candidate, state, update, out=out)

    def differentiate(self, before: Tensor) -> None:
        """Take the derivatives of all steps; ``before`` holds the states before each."""
        reset, update, recurrent = self.gates.chunk(3, -1)
        candidate, new = self.candidates, 1 - update
        self.slopes = torch.empty_like(self.gates)
        to_reset, to_update, to_candidate = self.slopes.chunk(3, -1)
        torch.mul(recurrent, reset, out=to_reset).mul_(1 - reset)
        torch.sub(before, candidate, out=to_update).mul_(update).mul_(new)
        torch.mul(candidate, candidate, out=to_candidate).neg_().add_(1).mul_(new)

    def step_back(self, t: int, grad: Tensor, from_input: Tensor, from_state: Tensor) -> Tensor:
        """Go back through step t from ``grad``, the gradient of the state after it.

        Writes the gradients of x and of the state's projection into ``from_input`` and
        ``from_state`` (… × 3·hidden); returns the part of the gradient of the state before the
        step that does not go through its projection.
        """
        hidden, two = self.hidden, 2 * self.hidden
        reset, update, _ = self.gates[t].chunk(3, -1)
        slopes, pair = self.slopes[t], (2, hidden)
        torch.mul(
            grad.unsqueeze(-2),
            slopes[..., hidden:].unflatten(-1, pair),
            out=from_input[..., hidden:].unflatten(-1, pair),
        )
        grad_candidate = from_input[..., two:]
        torch.mul(grad_candidate, slopes[..., :hidden], out=from_input[..., :hidden])
        from_state[..., :two] = from_input[..., :two]
        torch.mul(grad_candidate, reset, out=from_state[..., two:])
        return grad * update


def initialise_gru(gru: nn.Module) -> None:
    """Initialise a ``GRU`` or ``GRUCell``: orthogonal hidden blocks, Xavier input, zero biases."""
    for name, parameter in gru.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
            continue
        initialise = nn.init.orthogonal_ if "weight_hh" in name else nn.init.xavier_uniform_
        for gate in parameter.data.chunk(3):
            initialise(gate)

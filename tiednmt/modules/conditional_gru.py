"""The attentional decoder cell of the dl4mt tutorial, over a whole target sequence.

Source: ``docs/cgru.pdf`` of dl4mt-tutorial, session 2. For target step t, with y the embedded
previous token and h_1 … h_S the annotations of the source::

    s'_t  = GRU_1(y_t, s_{t-1})
    e_ti  = v · tanh(W_q s'_t + W_k h_i + b)
    c_t   = Σ_i softmax(e_t)_i h_i
    s_t   = GRU_2(c_t, s'_t)

What does not depend on the last state is one matrix product over all steps before the loop; the
backward pass is written by hand so that the weight gradients are one product over all steps too.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Decoded(NamedTuple):
    """What the cell yields for T steps of B sentences over sources of length S."""

    states: Tensor  # T × B × hidden
    contexts: Tensor  # T × B × annotation
    attention: Tensor  # T × B × S, rows sum to one; no gradient flows back through it


class _Gates(NamedTuple):
    """What a GRU step keeps for its backward pass (each B × hidden)."""

    reset: Tensor
    update: Tensor
    candidate: Tensor
    recurrent: Tensor  # the state's part of the candidate, before the reset gate


def _gru_step(from_input: Tensor, from_state: Tensor, state: Tensor) -> tuple[Tensor, _Gates]:
    """One GRU step (the form of ``torch.nn.GRUCell``) from its projections, each B × 3·hidden."""
    input_reset, input_update, input_candidate = from_input.chunk(3, 1)
    state_reset, state_update, recurrent = from_state.chunk(3, 1)
    reset = torch.sigmoid(input_reset + state_reset)
    update = torch.sigmoid(input_update + state_update)
    candidate = torch.tanh(torch.addcmul(input_candidate, reset, recurrent))
    return torch.lerp(candidate, state, update), _Gates(reset, update, candidate, recurrent)


def _gru_step_backward(
    grad: Tensor, gates: _Gates, state: Tensor, from_input: Tensor, from_state: Tensor
) -> Tensor:
    """Gradients of a GRU step.

    Writes those of the two projections into ``from_input`` and ``from_state`` (B × 3·hidden) and
    returns the part of the old state's that does not go through ``from_state``.
    """
    reset, update, candidate, recurrent = gates
    grad_candidate = grad * (1 - update) * (1 - candidate * candidate)
    grad_update = grad * (state - candidate) * update * (1 - update)
    grad_reset = grad_candidate * recurrent * reset * (1 - reset)
    torch.cat((grad_reset, grad_update, grad_candidate), 1, out=from_input)
    torch.cat((grad_reset, grad_update, grad_candidate * reset), 1, out=from_state)
    return grad * update


class _Weights(NamedTuple):
    """Recurrent weights of the cell, in the order autograd sees them."""

    hidden_1: Tensor  # 3·hidden × hidden
    bias_1: Tensor
    query_hidden_2: Tensor  # (attention + 3·hidden) × hidden: W_q over GRU_2's hidden weights
    bias_2: Tensor  # 3·hidden, of GRU_2's hidden weights
    score: Tensor  # attention
    context: Tensor  # 3·hidden × annotation: GRU_2's input weights
    bias_context: Tensor


class _Recurrence(torch.autograd.Function):
    """The loop over target steps, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        keys: Tensor,
        annotations: Tensor,
        padding: Tensor,
        initial: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        w = _Weights(*weights)
        steps, batch, hidden = inputs.size(0), initial.size(0), initial.size(1)
        attention_size = w.score.size(0)
        states = inputs.new_empty(steps + 1, batch, hidden)
        middles = inputs.new_empty(steps, batch, hidden)
        queries = inputs.new_empty(steps, batch, attention_size)
        contexts = inputs.new_empty(steps, batch, annotations.size(2))
        attention = inputs.new_empty(steps, batch, keys.size(1))
        gates_1, gates_2 = [], []
        states[0] = initial
        for t in range(steps):
            from_state = torch.addmm(w.bias_1, states[t], w.hidden_1.t())
            middles[t], gates = _gru_step(inputs[t], from_state, states[t])
            gates_1.append(gates)
            from_middle = middles[t] @ w.query_hidden_2.t()
            queries[t] = from_middle[:, :attention_size]
            scores = (keys + queries[t].unsqueeze(1)).tanh_() @ w.score
            attention[t] = scores.masked_fill_(padding, -math.inf).softmax(1)
            contexts[t] = torch.bmm(attention[t].unsqueeze(1), annotations).squeeze(1)
            from_context = torch.addmm(w.bias_context, contexts[t], w.context.t())
            from_state = from_middle[:, attention_size:] + w.bias_2
            states[t + 1], gates = _gru_step(from_context, from_state, middles[t])
            gates_2.append(gates)
        ctx.save_for_backward(
            keys, annotations, states, middles, queries, contexts, attention, *weights
        )
        ctx.gates = gates_1, gates_2
        ctx.mark_non_differentiable(attention)
        return states[1:], contexts, attention

    @staticmethod
    def backward(ctx: Any, grad_states: Tensor, grad_contexts: Tensor, _: Tensor) -> Any:
        keys, annotations, states, middles, queries, contexts, attention, *weights = (
            ctx.saved_tensors
        )
        w = _Weights(*weights)
        gates_1, gates_2 = ctx.gates
        steps, batch, hidden = middles.shape
        attention_size = w.score.size(0)

        grad_inputs = states.new_empty(steps, batch, 3 * hidden)
        grad_from_state = torch.empty_like(grad_inputs)
        grad_from_middle = states.new_empty(steps, batch, attention_size + 3 * hidden)
        grad_from_context = torch.empty_like(grad_inputs)
        grad_context = torch.empty_like(contexts)
        grad_keys = torch.zeros_like(keys)
        grad_score = torch.zeros_like(w.score)
        grad_from_state_2 = states.new_empty(batch, 3 * hidden)
        grad_state = torch.zeros_like(states[0])
        for t in reversed(range(steps)):
            grad_state = grad_state + grad_states[t]
            grad_middle = _gru_step_backward(
                grad_state, gates_2[t], middles[t], grad_from_context[t], grad_from_state_2
            )
            torch.addmm(grad_contexts[t], grad_from_context[t], w.context, out=grad_context[t])
            grad_attention = torch.bmm(annotations, grad_context[t].unsqueeze(2)).squeeze(2)
            grad_scores = attention[t] * (
                grad_attention - (attention[t] * grad_attention).sum(1, keepdim=True)
            )
            energies = (keys + queries[t].unsqueeze(1)).tanh_()
            grad_score.addmv_(energies.flatten(0, 1).t(), grad_scores.flatten())
            slopes = energies.mul_(energies).neg_().add_(1).mul_(grad_scores.unsqueeze(2))
            grad_keys += slopes
            torch.cat((slopes.sum(1) * w.score, grad_from_state_2), 1, out=grad_from_middle[t])
            grad_middle = torch.addmm(grad_middle, grad_from_middle[t], w.query_hidden_2)
            grad_state = _gru_step_backward(
                grad_middle, gates_1[t], states[t], grad_inputs[t], grad_from_state[t]
            )
            grad_state = torch.addmm(grad_state, grad_from_state[t], w.hidden_1)

        grad_annotations = torch.bmm(attention.permute(1, 2, 0), grad_context.transpose(0, 1))
        flat_from_state = grad_from_state.flatten(0, 1)
        flat_from_middle = grad_from_middle.flatten(0, 1)
        flat_from_context = grad_from_context.flatten(0, 1)
        grad_weights = _Weights(
            hidden_1=flat_from_state.t() @ states[:-1].flatten(0, 1),
            bias_1=flat_from_state.sum(0),
            query_hidden_2=flat_from_middle.t() @ middles.flatten(0, 1),
            bias_2=flat_from_middle[:, attention_size:].sum(0),
            score=grad_score,
            context=flat_from_context.t() @ contexts.flatten(0, 1),
            bias_context=flat_from_context.sum(0),
        )
        return (
            grad_inputs,
            grad_keys * w.score,
            grad_annotations,
            None,
            grad_state,
            *grad_weights,
        )


class ConditionalGRU(nn.Module):
    """Two GRU transitions with additive attention between them.

    Args:
        input_size: size of an embedded target token.
        annotation_size: size of an annotation (twice the encoder's hidden size).
        hidden_size: size of the state.
        attention_size: size of the attention's hidden layer.
    """

    def __init__(
        self, input_size: int, annotation_size: int, hidden_size: int, attention_size: int
    ) -> None:
        super().__init__()
        self.transition_1 = nn.GRUCell(input_size, hidden_size)
        self.transition_2 = nn.GRUCell(annotation_size, hidden_size)
        self.key = nn.Linear(annotation_size, attention_size)
        self.query = nn.Linear(hidden_size, attention_size, bias=False)
        self.score = nn.Parameter(torch.empty(attention_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Orthogonal recurrent blocks, Xavier for the rest, zero biases."""
        for cell in (self.transition_1, self.transition_2):
            initialise_gru(cell)
        nn.init.xavier_uniform_(self.key.weight)
        nn.init.zeros_(self.key.bias)
        nn.init.xavier_uniform_(self.query.weight)
        nn.init.normal_(self.score, std=self.score.numel() ** -0.5)

    def keys(self, annotations: Tensor) -> Tensor:
        """The attention's view of the source, B × S × attention; needed once a sentence."""
        return self.key(annotations)

    def forward(
        self,
        embedded: Tensor,
        annotations: Tensor,
        padding: Tensor,
        state: Tensor,
        keys: Tensor | None = None,
    ) -> Decoded:
        """Run all target steps.

        Args:
            embedded: previous target tokens, T × B × input.
            annotations: B × S × annotation.
            padding: B × S, True where the source holds padding; no row may be all True.
            state: B × hidden, the state before the first step.
            keys: what :meth:`keys` gave for ``annotations``, if at hand.
        """
        one, two = self.transition_1, self.transition_2
        weights = _Weights(
            hidden_1=one.weight_hh,
            bias_1=one.bias_hh,
            query_hidden_2=torch.cat((self.query.weight, two.weight_hh)),
            bias_2=two.bias_hh,
            score=self.score,
            context=two.weight_ih,
            bias_context=two.bias_ih,
        )
        return Decoded(
            *_Recurrence.apply(
                F.linear(embedded, one.weight_ih, one.bias_ih),
                self.keys(annotations) if keys is None else keys,
                annotations,
                padding,
                state,
                *weights,
            )
        )


def initialise_gru(gru: nn.Module) -> None:
    """Initialise a ``GRU`` or ``GRUCell``: orthogonal hidden blocks, Xavier input, zero biases."""
    for name, parameter in gru.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
            continue
        initialise = nn.init.orthogonal_ if "weight_hh" in name else nn.init.xavier_uniform_
        for gate in parameter.data.chunk(3):
            initialise(gate)

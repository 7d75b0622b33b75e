"""The attentional decoder cell of the dl4mt tutorial, over a whole target sequence.

Source: ``docs/cgru.pdf`` of dl4mt-tutorial, session 2. For target step t, with y the embedded
previous token and h_1 … h_S the annotations of the source::

    s'_t  = GRU_1(y_t, s_{t-1})
    e_ti  = v · tanh(W_q s'_t + W_k h_i + b)
    c_t   = Σ_i softmax(e_t)_i h_i
    s_t   = GRU_2(c_t, s'_t)

What does not depend on the previous state is one matrix product over all steps before the loop; the
backward pass is written by hand, so that the weight gradients are one product over all steps too.
If a part is not torch's own layer (quantised, wrapped by an adapter), the steps call it and leave
the backward pass to autograd.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tiednmt.kernels import decoding_kernels_for
from tiednmt.kernels.tuning import DECODING_ENERGIES
from tiednmt.modules.additive_attention import AdditiveAttentionSteps, energy_, times
from tiednmt.modules.frozen_linear import Frozen, FrozenLinear, frozen_value
from tiednmt.modules.gru import GRUSteps, initialise_gru, transition
from tiednmt.modules.linear import (
    Matmul,
    add_product,
    in_precision,
    is_hooked,
    is_plain,
    kept_exact,
    linear,
    matmul_of,
    multiply,
    product,
    transposed_copy,
)
from tiednmt.modules.packing import pad_steps, states_before, steps


class ConditionalGRUOutput(NamedTuple):
    """What the cell yields for N target tokens over sources of length S."""

    states: Tensor  # N × hidden
    contexts: Tensor  # N × annotation
    attention: Tensor  # N × S, rows sum to one; no gradient flows back through it


class AdditiveMemory(NamedTuple):
    """What the attention reads of B sources of length S."""

    annotations: Tensor  # B × S × annotation
    keys: Tensor  # B × S × attention: W_k h_i + b
    padding: Tensor  # B × S, True where there is none; no row may be all True


class AdditiveStepMemory(NamedTuple):
    """What a step of decoding attends to, for B sources of length S."""

    keys: Tensor  # as in AdditiveMemory
    values: Tensor  # B × S × (3·hidden + n): annotations, multiplied as contexts would be
    padding: Tensor  # as in AdditiveMemory


class _Weights(NamedTuple):
    """Recurrent weights of the cell, in the order autograd sees them."""

    hidden_1: Tensor  # 3·hidden × hidden
    bias_1: Tensor
    query_hidden_2: Tensor  # (attention + 3·hidden) × hidden: W_q over GRU_2's hidden weights
    bias_2: Tensor  # attention + 3·hidden: zeros for W_q, the bias of GRU_2's hidden weights
    score: Tensor  # attention
    context: Tensor  # 3·hidden × annotation: GRU_2's input weights
    bias_context: Tensor

    def to(self, dtype: torch.dtype) -> _Weights:
        """The matrices in another dtype."""
        return self._replace(
            hidden_1=self.hidden_1.to(dtype),
            query_hidden_2=self.query_hidden_2.to(dtype),
            context=self.context.to(dtype),
        )


class _FrozenLayers(NamedTuple):
    """Frozen copies of recurrent weights, for a step of decoding."""

    hidden_1: Frozen[FrozenLinear | None]
    query_hidden_2: Frozen[FrozenLinear | None]


@in_precision
class _ConditionalGRUSteps(torch.autograd.Function):
    """The loop over target steps, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any,
        matmul: Matmul,
        sizes: tuple[int, ...],
        inputs: Tensor,
        keys: Tensor,
        annotations: Tensor,
        padding: Tensor,
        initial: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        w = _Weights(*weights).to(matmul.dtype)
        tokens, (_, length, attention_size) = len(inputs), keys.shape
        states = inputs.new_empty(tokens, initial.size(1))
        middles = torch.empty_like(states)
        from_middles = inputs.new_empty(tokens, w.query_hidden_2.size(0))
        queries, gates_2 = from_middles.tensor_split((attention_size,), 1)
        one, two = GRUSteps(torch.empty_like(inputs)), GRUSteps(gates_2)
        contexts = inputs.new_empty(tokens, annotations.size(2))
        attention = inputs.new_empty(tokens, length)
        over = AdditiveAttentionSteps(keys, annotations, w.score)
        from_context = inputs.new_empty(len(keys), w.context.size(0))
        state = initial
        to_gates_1, to_middle, to_gates_2 = map(
            transposed_copy, (w.hidden_1, w.query_hidden_2, w.context)
        )
        for rows, size in steps(sizes):
            state = state[:size]
            add_product(w.bias_1, state, to_gates_1, out=one.gates[rows])
            one.step(rows, inputs[rows], state, out=middles[rows])
            add_product(w.bias_2, middles[rows], to_middle, out=from_middles[rows])
            over.step(queries[rows], padding, attention[rows], contexts[rows])
            add_product(w.bias_context, contexts[rows], to_gates_2, out=from_context[:size])
            two.step(rows, from_context[:size], middles[rows], out=states[rows])
            state = states[rows]
        ctx.save_for_backward(
            keys, annotations, initial, states, middles, queries, contexts, attention, *weights
        )
        ctx.sizes, ctx.transitions = sizes, (one, two)
        ctx.mark_non_differentiable(attention)
        return states, contexts, attention

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor, grad_contexts: Tensor, _: Tensor) -> Any:
        keys, annotations, initial, states, middles, queries, contexts, attention, *weights = (
            ctx.saved_tensors
        )
        dtype, sizes = ctx.matmul.dtype, ctx.sizes
        w = _Weights(*weights).to(dtype)
        before = states_before(initial, states, sizes)
        one, two = ctx.transitions
        one.start_back(before)
        two.start_back(middles)

        grad_from_states = torch.empty_like(one.gates)
        grad_from_middles = one.gates.new_empty(len(states), w.query_hidden_2.size(0))
        grad_queries, grad_gates_2 = grad_from_middles.tensor_split((keys.size(2),), 1)
        grad_context = torch.empty_like(contexts)
        over = AdditiveAttentionSteps(keys, annotations, w.score)
        over.start_back()
        grad_initial = torch.zeros_like(initial)
        for rows, size in reversed(steps(sizes)):
            grad = grad_initial[:size]
            grad += grad_states[rows]
            from_context = two.step_back(rows, grad, grad_gates_2[rows])
            add_product(grad_contexts[rows], from_context, w.context, out=grad_context[rows])
            over.step_back(queries[rows], attention[rows], grad_context[rows], grad_queries[rows])
            add_product(grad, grad_from_middles[rows], w.query_hidden_2, out=grad)
            one.step_back(rows, grad, grad_from_states[rows])
            add_product(grad, grad_from_states[rows], w.hidden_1, out=grad)

        grad_inputs, grad_from_contexts = one.from_input, two.from_input
        grad_keys, grad_score = over.gradients()
        grad_weights = _Weights(
            hidden_1=product(grad_from_states.t(), before.to(dtype)),
            bias_1=grad_from_states.sum(0),
            query_hidden_2=product(grad_from_middles.t(), middles.to(dtype)),
            bias_2=grad_from_middles.sum(0),
            score=grad_score,
            context=product(grad_from_contexts.t(), contexts.to(dtype)),
            bias_context=grad_from_contexts.sum(0),
        )
        return (
            None,
            None,
            grad_inputs,
            grad_keys,
            torch.bmm(pad_steps(attention, sizes).transpose(1, 2), pad_steps(grad_context, sizes)),
            None,
            grad_initial,
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
        self.key = kept_exact(nn.Linear(annotation_size, attention_size))
        self.query = nn.Linear(hidden_size, attention_size, bias=False)
        self.score = nn.Parameter(torch.empty(attention_size))
        self.frozen: _FrozenLayers | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Orthogonal recurrent blocks, Xavier for the rest, zero biases."""
        for cell in (self.transition_1, self.transition_2):
            initialise_gru(cell)
        nn.init.xavier_uniform_(self.key.weight)
        nn.init.zeros_(self.key.bias)
        nn.init.xavier_uniform_(self.query.weight)
        nn.init.normal_(self.score, std=self.score.numel() ** -0.5)

    @property
    def gate_size(self) -> int:
        """The size of the input projection of one GRU's gates."""
        return 3 * self.transition_1.hidden_size

    @property
    def is_plain(self) -> bool:
        """Whether every part computes just what its weights say, without hooks or wrappers."""
        cells = (self.transition_1, self.transition_2)
        return is_plain(self.query) and all(
            type(cell) is nn.GRUCell and not is_hooked(cell) for cell in cells
        )

    def read(self, annotations: Tensor, padding: Tensor) -> AdditiveMemory:
        """What the steps attend to, computed once per sentence."""
        return AdditiveMemory(annotations, linear(self.key, annotations), padding)

    def forward(
        self, embedded: Tensor, sizes: Sequence[int], memory: AdditiveMemory, state: Tensor
    ) -> ConditionalGRUOutput:
        """Run all target steps.

        Args:
            embedded: previous target tokens of all steps, one step after another, N × input.
            sizes: how many tokens each step has, those of the first sentences: B of them at the
                first step, never more than at the step before; N together.
            memory: of the B sources.
            state: B × hidden, the state before the first step.
        """
        if not self.is_plain:
            return self._forward_by_parts(embedded, sizes, memory, state)
        one, matmul = self.transition_1, matmul_of(self, embedded)
        return ConditionalGRUOutput(
            *_ConditionalGRUSteps.apply(
                matmul,
                tuple(sizes),
                multiply(embedded, one.weight_ih, one.bias_ih, matmul),
                memory.keys,
                memory.annotations,
                memory.padding,
                state,
                *self._weights(),
            )
        )

    def _forward_by_parts(
        self, embedded: Tensor, sizes: Sequence[int], memory: AdditiveMemory, state: Tensor
    ) -> ConditionalGRUOutput:
        """:meth:`forward`, calling the parts at each step."""
        outcomes = []
        for rows, size in steps(tuple(sizes)):
            running = AdditiveMemory(*(part[:size] for part in memory))
            inputs, before = embedded[rows].unsqueeze(1), state[:size].unsqueeze(1)
            outcomes.append(self.step_by_parts(inputs, running, before))
            state = outcomes[-1].states.squeeze(1)
        return ConditionalGRUOutput(
            *(torch.cat(parts).squeeze(1) for parts in zip(*outcomes, strict=True))
        )

    def step_by_parts(
        self, embedded: Tensor, memory: AdditiveMemory, state: Tensor
    ) -> ConditionalGRUOutput:
        """One step of K hypotheses for each of B sources: the formulas as they stand above.

        Args:
            embedded: previous target tokens, B × K × input.
            memory: of the B sources.
            state: B × K × hidden.

        Returns:
            States, contexts and attention, each B × K × ….
        """
        batch, beam = state.shape[:2]

        def run(cell: nn.Module, inputs: Tensor, before: Tensor) -> Tensor:
            after: Tensor = cell(inputs.flatten(0, 1), before.flatten(0, 1))
            return after.unflatten(0, (batch, beam))

        middle = run(self.transition_1, embedded, state)
        energies = torch.tanh(self.query(middle).unsqueeze(2) + memory.keys.unsqueeze(1))
        scores = (energies @ self.score).masked_fill(memory.padding.unsqueeze(1), -math.inf)
        attention = scores.softmax(2)
        contexts = torch.bmm(attention, memory.annotations)
        return ConditionalGRUOutput(
            run(self.transition_2, contexts, middle), contexts, attention.detach()
        )

    def _weights(self) -> _Weights:
        one, two = self.transition_1, self.transition_2
        return _Weights(
            hidden_1=one.weight_hh,
            bias_1=one.bias_hh,
            query_hidden_2=_query_over_hidden(self.query.weight, two.weight_hh),
            bias_2=F.pad(two.bias_hh, (self.score.numel(), 0)),
            score=self.score,
            context=two.weight_ih,
            bias_context=two.bias_ih,
        )

    def freeze(self, kind: type[FrozenLinear] | None) -> None:
        """Let :meth:`step` multiply with copies of the weights, or (``None``) with the weights.

        The copies serve where no gradient is recorded.
        """
        self.frozen = None
        if kind is not None and self.is_plain:
            one = self.transition_1
            self.frozen = _FrozenLayers(
                Frozen(kind.of, one.weight_hh, one.bias_hh),
                Frozen(partial(_frozen_stack, kind), *self._frozen_parameters()),
            )

    def _frozen_parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """The arguments of :func:`_frozen_stack`."""
        return self.query.weight, self.transition_2.weight_hh, self.transition_2.bias_hh

    def prepare(self, memory: AdditiveMemory, reader: Tensor) -> AdditiveStepMemory:
        """What :meth:`step` attends to; all parts must be plain.

        A context is a mean of annotations, so its product with a matrix is the mean of their
        products. These are computed here, once per source instead of once per hypothesis and step.

        Args:
            memory: of the sources.
            reader: n × annotation, a further matrix that multiplies the contexts.
        """
        two = self.transition_2
        weight = torch.cat((two.weight_ih, reader))
        bias = F.pad(two.bias_ih, (0, len(reader)))
        values = F.linear(memory.annotations, weight, bias)
        return AdditiveStepMemory(memory.keys, values, memory.padding)

    def step(
        self, from_token: Tensor, memory: AdditiveStepMemory, state: Tensor
    ) -> ConditionalGRUOutput:
        """Run one step of K hypotheses for each of the B sources, without gradients in mind.

        Args:
            from_token: GRU_1's input projection of the previous target tokens, B × K × 3·hidden.
            memory: of the B sources, which their hypotheses share.
            state: B × K × hidden.

        Returns:
            States, contexts times the reader (B × K × n), and attention, each B × K × ….
        """
        middle = transition(from_token, self._from_state(state), state)
        query, from_middle = self._from_middle(middle)
        attention, context = self._attend(memory, query)
        from_context, read = context.tensor_split((from_middle.size(2),), 2)
        return ConditionalGRUOutput(transition(from_context, from_middle, middle), read, attention)

    def _from_state(self, state: Tensor) -> Tensor:
        one, layers = self.transition_1, self.frozen
        frozen = frozen_value(layers and layers.hidden_1, one.weight_hh, one.bias_hh)
        return frozen(state) if frozen else F.linear(state, one.weight_hh, one.bias_hh)

    def _from_middle(self, middle: Tensor) -> tuple[Tensor, Tensor]:
        """The query, and the hidden projection of GRU_2's gates."""
        two, layers = self.transition_2, self.frozen
        frozen = frozen_value(layers and layers.query_hidden_2, *self._frozen_parameters())
        if not frozen:
            return self.query(middle), F.linear(middle, two.weight_hh, two.bias_hh)
        query, from_middle = frozen(middle).tensor_split((self.score.numel(),), 2)
        return query, from_middle

    def _attend(self, memory: AdditiveStepMemory, query: Tensor) -> tuple[Tensor, Tensor]:
        """Attention (B × K × S) of queries (B × K × attention), and the values' weighted means."""
        kernels = decoding_kernels_for(query)
        if kernels:
            keys, values = memory.keys.contiguous(), memory.values.contiguous()
            attention = query.new_empty(*query.shape[:2], keys.size(1))
            context = query.new_empty(*query.shape[:2], values.size(2))
            kernels.attend(keys, values, self.score, query, memory.padding, attention, context)
            return attention, context
        scores = self._scores(memory.keys, query)
        attention = scores.masked_fill_(memory.padding.unsqueeze(1), -math.inf).softmax(2)
        return attention, torch.bmm(attention, memory.values)

    def _scores(self, keys: Tensor, query: Tensor) -> Tensor:
        """B × K × S, of keys (B × S × attention) and queries (B × K × attention)."""
        block = len(keys)
        if keys.device.type == "cpu":
            block = max(1, DECODING_ENERGIES // (query.size(1) * keys[0].numel()))
        parts = []
        for some, queries in zip(keys.split(block), query.split(block), strict=True):
            energies = energy_(some.unsqueeze(1) + queries.unsqueeze(2)).flatten(0, 1)
            score = self.score.expand(len(energies), -1)
            parts.append(times(score, energies.transpose(1, 2)).mul_(2))
        return torch.cat(parts).unflatten(0, query.shape[:2])


def _query_over_hidden(query: Tensor, hidden: Tensor) -> Tensor:
    """W_q over GRU_2's hidden weights: one product with the state between the two GRUs."""
    return torch.cat((query, hidden))


def _frozen_stack(
    kind: type[FrozenLinear], query: Tensor, hidden: Tensor, bias: Tensor
) -> FrozenLinear | None:
    return kind.of(_query_over_hidden(query, hidden), F.pad(bias, (len(query), 0)))

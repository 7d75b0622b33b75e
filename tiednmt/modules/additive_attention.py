"""Additive attention (Bahdanau et al. 2015) step by step, with a backward pass written by hand.

For the query q of a step and the key k_i of each source position i::

    e_i = v · tanh(q + k_i)    a = softmax(e)    c = Σ_i a_i h_i

It is computed as e_i = 2v · σ(2(q + k_i)): since tanh x = 2σ(2x) − 1, that differs by a constant,
which the softmax does not see, and on a CPU torch's σ takes a sixth of the time of its tanh.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tiednmt.kernels import kernels_for


class AdditiveAttentionSteps:
    """The steps over B sources of length S, and what their backward pass needs.

    A step is that of the first k sources, those whose sentences have not ended.

    Args:
        keys: B × S × size.
        annotations: B × S × annotation.
        score: v, size.
    """

    def __init__(self, keys: Tensor, annotations: Tensor, score: Tensor) -> None:
        self.keys, self.annotations, self.score = keys, annotations, score
        self.kernels = kernels_for(keys)
        if self.kernels:
            self.keys, self.annotations = keys.contiguous(), annotations.contiguous()
        else:
            self._energies = torch.empty_like(keys)

    def step(self, query: Tensor, padding: Tensor, attention: Tensor, context: Tensor) -> None:
        """Put attention (k × S) and context (k × annotation) of queries (k × size) in their places.

        ``padding`` is B × S, True where there is no source.
        """
        if self.kernels:
            self.kernels.attend(
                self.keys, self.annotations, self.score, query, padding, attention, context
            )
            return
        k = len(query)
        energies = self._energy(query)
        scores = times(self.score.expand(k, -1), energies.transpose(1, 2)).mul_(2)
        torch.softmax(scores.masked_fill_(padding[:k], -math.inf), 1, out=attention)
        context.copy_(times(attention, self.annotations[:k]))

    def start_back(self) -> None:
        """Prepare the sums of :meth:`gradients`: of keys, without v; of v, of each source."""
        self.grad_keys = torch.zeros_like(self.keys)
        self.grad_score = torch.zeros_like(self.keys[:, 0])

    def gradients(self) -> tuple[Tensor, Tensor]:
        """The gradients of keys (B × S × size) and v (size), after all steps back."""
        return self.grad_keys.mul_(self.score), self.grad_score.sum(0)

    def step_back(
        self, query: Tensor, attention: Tensor, grad_context: Tensor, grad_query: Tensor
    ) -> None:
        """Go back through a step.

        Puts the gradient of the queries (k × size) in its place and adds to the others.
        """
        if self.kernels:
            self.kernels.attend_back(
                self.keys,
                self.annotations,
                self.score,
                query,
                attention,
                grad_context,
                self.grad_keys,
                self.grad_score,
                grad_query,
            )
            return
        k = len(query)
        grad_attention = times(grad_context, self.annotations[:k].transpose(1, 2))
        share = attention * grad_attention
        grad_scores = share.addcmul_(attention, share.sum(1, keepdim=True), value=-1)
        energies = self._energy(query)
        grad_scores.mul_(2)
        self.grad_score[:k] += times(grad_scores, energies)
        slopes = torch.addcmul(energies, energies, energies, value=-1, out=energies)
        grad_scores.mul_(2)
        self.grad_keys[:k].addcmul_(slopes, grad_scores.unsqueeze(2))
        torch.mul(times(grad_scores, slopes), self.score, out=grad_query)

    def _energy(self, query: Tensor) -> Tensor:
        k = len(query)
        energies = self._energies[:k]
        return energy_(torch.add(self.keys[:k], query.unsqueeze(1), out=energies))


def energy_(sums: Tensor) -> Tensor:
    """σ(2x) instead of x = q + k: (tanh x + 1) / 2."""
    return sums.mul_(2).sigmoid_()


def times(rows: Tensor, matrices: Tensor) -> Tensor:
    """B × n times B × n × m, row by row; bmm with columns takes several times as long."""
    return torch.bmm(rows.unsqueeze(1), matrices).squeeze(1)

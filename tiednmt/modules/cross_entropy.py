"""The loss of a linear layer's scores and its gradients, without ever holding all the scores.

The scores of N tokens over all types are the largest thing that a step of training makes. Here
those of a few tokens are made, turned in place into their loss and then into the gradient of the
loss with respect to them, multiplied into the gradients of what they came from, and overwritten by
the next tokens' — all of it in the forward pass, so that no score is computed twice. What is left
to the backward pass is a factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# What is held at once: as many scores as fit a CPU's cache, on a GPU so many that launches do not
# count; but enough tokens for a product to be worth its pass over the weight.
_SCORES_ON_CPU, _SCORES_ON_GPU, _TOKENS = 2**22, 2**25, 320
_TYPES = 8192  # rows of a product that is rounded before it is added up


class SequenceLoss(NamedTuple):
    """Sums over the tokens that count (nats)."""

    loss: Tensor  # what is minimised: NLL, smoothed if asked
    nll: Tensor  # the negative log-likelihood alone, to be looked at: it has no gradient


def linear_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    padding_idx: int,
    label_smoothing: float = 0.0,
) -> SequenceLoss:
    """Summed loss of the scores ``features weightᵀ + bias`` against ``target``.

    Products are computed in the type of ``features``, all else in single precision or better. Each
    gradient comes in the type of its tensor, and once: going backward a second time
    (``retain_graph=True``) is a RuntimeError.

    Args:
        features: N × dim.
        weight: types × dim.
        bias: types.
        target: N indices of types.
        padding_idx: the type that does not count as a target.
        label_smoothing: fairseq's ε, spread over the types − 1 other types.
    """
    loss, nll = _LinearCrossEntropy.apply(
        features, weight, bias, target, padding_idx, label_smoothing, torch.is_grad_enabled()
    )
    return SequenceLoss(loss, nll)


class _LinearCrossEntropy(torch.autograd.Function):
    """With p the softmax of a token's scores, y its target and σ = ε / (types − 1):

    loss = −(1 − ε − σ) log p[y] − σ Σ_v log p[v], with gradient p[v] − σ − (1 − ε − σ)·[v = y].
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        target: Tensor,
        padding_idx: int,
        label_smoothing: float,
        differentiate: bool,
    ) -> tuple[Tensor, Tensor]:
        single = torch.promote_types(features.dtype, torch.float32)
        inputs = features, weight, bias
        wanted = [differentiate and needed for needed in ctx.needs_input_grad[:3]]
        gradients = _Gradients.zeros(inputs, wanted, single)
        ctx.gradients, ctx.types = gradients, [tensor.dtype for tensor in inputs]
        weight, bias = weight.to(features.dtype), bias.to(single)
        types = len(weight)
        of_others = label_smoothing / (types - 1)
        of_target = 1.0 - label_smoothing - of_others
        counted = target.ne(padding_idx).to(single)
        nll, uniform = torch.empty_like(counted), torch.empty_like(counted)  # of each token

        at_once = _SCORES_ON_CPU if features.device.type == "cpu" else _SCORES_ON_GPU
        tokens = min(len(features), max(_TOKENS, at_once // types))
        products = features.new_empty(tokens, types)
        chunk_of_scores = products.to(single)  # the same memory, where nothing is rounded
        for start in range(0, len(features), max(tokens, 1)):
            chunk = slice(start, start + tokens)
            h, gold, counts = features[chunk], target[chunk, None], counted[chunk, None]
            product, scores = products[: len(h)], chunk_of_scores[: len(h)]
            if product.dtype == single:
                torch.addmm(bias, h, weight.t(), out=scores)
            else:
                scores.copy_(torch.mm(h, weight.t(), out=product)).add_(bias)
            nll[chunk], uniform[chunk], total = _exponentiate(scores, gold)
            if any(wanted):
                scores.mul_(counts / total).sub_(of_others * counts)
                scores.scatter_add_(1, gold, -of_target * counts)
                gradients.add(chunk, scores, product, h, weight)

        total_nll, total_uniform = (counted * nll).sum(), (counted * uniform).sum()
        ctx.mark_non_differentiable(total_nll)
        return of_target * total_nll + of_others * total_uniform, total_nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> Any:
        gradients, ctx.gradients = ctx.gradients, None  # a tensor that nobody holds is not copied
        if gradients is None:
            raise RuntimeError("the gradients of this loss are gone; compute the loss once more")
        scaled = (
            None if gradient is None else gradient.mul_(grad_loss).to(kind)
            for gradient, kind in zip(gradients, ctx.types, strict=True)
        )
        return *scaled, None, None, None, None


class _Gradients(NamedTuple):
    """Of what wants one, in single precision or better."""

    features: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    @classmethod
    def zeros(
        cls, inputs: Sequence[Tensor], wanted: Sequence[bool], kind: torch.dtype
    ) -> _Gradients:
        """Nothing yet, for those of features, weight and bias that are wanted."""
        pairs = zip(inputs, wanted, strict=True)
        return cls(*(torch.zeros_like(x, dtype=kind) if needed else None for x, needed in pairs))

    def add(
        self, chunk: slice, exact: Tensor, grad_scores: Tensor, features: Tensor, weight: Tensor
    ) -> None:
        """What the scores of a chunk of tokens contribute: ``exact`` is their gradient, which is
        put into ``grad_scores`` to be multiplied.
        """
        if self.bias is not None:
            self.bias.add_(exact.sum(0))
        if grad_scores.dtype != exact.dtype:
            grad_scores.copy_(exact)
        if self.features is not None:
            self.features[chunk] = grad_scores @ weight
        if self.weight is None:
            return
        if self.weight.dtype == features.dtype:
            self.weight.addmm_(grad_scores.t(), features)
            return
        for rows, share in zip(
            self.weight.split(_TYPES), grad_scores.t().split(_TYPES), strict=True
        ):
            rows.add_(share @ features)


def _exponentiate(scores: Tensor, gold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn scores into their softmax times what is returned last, a column.

    Before it, for each row: −log p[gold] and −Σ_v log p[v].
    """
    scores.sub_(scores.amax(1, keepdim=True))
    gold_score, all_scores = scores.gather(1, gold).squeeze(1), scores.sum(1)
    # on AMD's CPUs torch's exp takes three times as long as its exp2
    total = scores.mul_(1 / math.log(2)).exp2_().sum(1, keepdim=True)
    log_total = total.log().squeeze(1)
    return log_total - gold_score, scores.size(1) * log_total - all_scores, total

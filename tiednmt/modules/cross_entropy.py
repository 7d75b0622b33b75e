"""The loss of a linear layer's scores and its gradients, without ever holding all the scores.

The scores of N tokens over the whole vocabulary are the largest thing that a step of training
makes. Here those of a few tokens are made, turned in place into their loss and then into the
gradient of the loss with respect to them, multiplied into the gradients of what they came from, and
overwritten by the next tokens' — all of it in the forward pass, so that no score is computed twice.
What is left to the backward pass is a factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tiednmt.kernels import kernels_for
from tiednmt.kernels.tuning import (
    LOSS_ROWS,
    LOSS_SCORES_ON_CPU,
    LOSS_SCORES_ON_GPU,
    LOSS_TOKENS,
)
from tiednmt.modules.disagreement import divergence_of_pairs
from tiednmt.modules.linear import Matmul, in_precision


class SequenceLoss(NamedTuple):
    """Sums over the tokens that count, in nats.

    Attributes:
        loss: what training minimises: the NLL, with label smoothing if chosen.
        nll: the negative log-likelihood, for reports; it has no gradient.
    """

    loss: Tensor
    nll: Tensor


class PairLoss(NamedTuple):
    """Sums over two predictions of each token that counts, in nats.

    Attributes:
        loss: what training minimises, as of :class:`SequenceLoss`, and α times the divergence.
        nll: the negative log-likelihood of both, for reports; it has no gradient.
        divergence: ½ [KL(p‖q) + KL(q‖p)] of the two, for reports; it has no gradient.
    """

    loss: Tensor
    nll: Tensor
    divergence: Tensor


def linear_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    padding_idx: int,
    label_smoothing: float = 0.0,
    precision: str = "highest",
) -> SequenceLoss:
    """Summed loss of the scores ``features weightᵀ + bias`` against ``target``.

    Products are computed in the type of ``features``, all else in single precision or better. Each
    gradient comes in the type of its tensor, and once: going backward a second time
    (``retain_graph=True``) is a RuntimeError.

    Args:
        features: N × dim.
        weight: vocab_size × dim.
        bias: vocab_size.
        target: N indices of the vocabulary.
        padding_idx: the target that does not count; it need not be in the vocabulary.
        label_smoothing: fairseq's ε, spread over the vocab_size − 1 other entries.
        precision: of float32 products on a GPU, in torch's words.
    """
    matmul = Matmul(features.dtype, precision)
    how = padding_idx, label_smoothing, 0.0, torch.is_grad_enabled()
    loss, nll, _ = _LinearCrossEntropy.apply(matmul, features, weight, bias, target, *how)
    return SequenceLoss(loss, nll)


def pair_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    padding_idx: int,
    label_smoothing: float,
    alpha: float,
    precision: str = "highest",
) -> PairLoss:
    """:func:`linear_cross_entropy` of two predictions of each token, which are to agree.

    Source: Liang et al. 2021, "R-Drop: Regularized Dropout for Neural Networks", equation 4.

    Args:
        features: N × 2 × dim.
        weight: vocab_size × dim.
        bias: vocab_size.
        target: N indices of the vocabulary.
        padding_idx: the target that does not count; it need not be in the vocabulary.
        label_smoothing: fairseq's ε, spread over the vocab_size − 1 other entries.
        alpha: the weight of the divergence, above 0.
        precision: of float32 products on a GPU, in torch's words.
    """
    matmul = Matmul(features.dtype, precision)
    rows, targets = features.flatten(0, 1), target.repeat_interleave(2)
    how = padding_idx, label_smoothing, alpha, torch.is_grad_enabled()
    return PairLoss(*_LinearCrossEntropy.apply(matmul, rows, weight, bias, targets, *how))


class Smoothing(NamedTuple):
    """Weights of the loss.

    With p the softmax of a token's scores, y its target and σ = ε / (vocab_size − 1), the loss is
    −(1 − ε − σ) log p[y] − σ Σ_v log p[v], and its gradient p[v] − σ − (1 − ε − σ)·[v = y].
    """

    of_target: float  # 1 − ε − σ
    of_others: float  # σ

    @classmethod
    def over(cls, vocab_size: int, label_smoothing: float) -> Smoothing:
        """For fairseq's ε."""
        of_others = label_smoothing / (vocab_size - 1)
        return cls(1.0 - label_smoothing - of_others, of_others)


@in_precision
class _LinearCrossEntropy(torch.autograd.Function):
    """The sums of a :class:`PairLoss`, and on the way the gradients of the first.

    The rows of a pair stand side by side; without an α no row is one of a pair.
    """

    @staticmethod
    def forward(
        ctx: Any,
        _matmul: Matmul,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        target: Tensor,
        padding_idx: int,
        label_smoothing: float,
        alpha: float,
        differentiate: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        single = torch.promote_types(features.dtype, torch.float32)
        inputs = features, weight, bias
        wanted = [differentiate and needed for needed in ctx.needs_input_grad[1:4]]
        gradients = _Gradients.zeros(inputs, wanted, single)
        ctx.gradients, ctx.dtypes = gradients, [tensor.dtype for tensor in inputs]
        weight, bias = weight.to(features.dtype), bias.to(single)
        vocab_size = len(weight)
        smoothing = Smoothing.over(vocab_size, label_smoothing)
        counted = target.ne(padding_idx)
        target, counts = target * counted, counted.to(single)  # padding may be outside of the rows
        nll, uniform = torch.empty_like(counts), torch.empty_like(counts)  # of each token
        divergence = counts.new_zeros(()) if alpha else None

        tokens = min(len(features), _tokens_at_once(features, vocab_size))
        tokens -= tokens % 2 if alpha else 0
        products = features.new_empty(tokens, vocab_size)
        compute = _loss_of_chunk(products, bias)
        for start in range(0, len(features), max(tokens, 1)):
            chunk = slice(start, start + tokens)
            h = features[chunk]
            product = torch.mm(h, weight.t(), out=products[: len(h)])
            if divergence is not None:  # before the products are overwritten
                between, apart = divergence_of_pairs(product, bias, counts[chunk])
                divergence += between
            nll[chunk], uniform[chunk], grad_bias = compute(
                product, bias, target[chunk], counts[chunk], smoothing, any(wanted)
            )
            if any(wanted) and divergence is not None:
                grad_bias.add_(apart.sum(0), alpha=alpha)
                product.add_(apart, alpha=alpha)
            if any(wanted):
                gradients.add(chunk, product, grad_bias, h, weight)

        total_nll, total_uniform = (counts * nll).sum(), (counts * uniform).sum()
        loss = smoothing.of_target * total_nll
        if label_smoothing:  # 0 · ∞ where a unit is ruled out by a bias of −∞
            loss = loss + smoothing.of_others * total_uniform
        if divergence is None:
            ctx.mark_non_differentiable(total_nll)
            return loss, total_nll, None
        ctx.mark_non_differentiable(total_nll, divergence)
        return loss + alpha * divergence, total_nll, divergence

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> Any:
        gradients, ctx.gradients = ctx.gradients, None  # a tensor that nobody holds is not copied
        if gradients is None:
            raise RuntimeError("the gradients of this loss are gone; compute the loss once more")
        scaled = (
            None if gradient is None else gradient.mul_(grad_loss).to(dtype)
            for gradient, dtype in zip(gradients, ctx.dtypes, strict=True)
        )
        return None, *scaled, None, None, None, None, None


class _Gradients(NamedTuple):
    """Of what wants one, in single precision or better."""

    features: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    @classmethod
    def zeros(
        cls, inputs: Sequence[Tensor], wanted: Sequence[bool], dtype: torch.dtype
    ) -> _Gradients:
        """Nothing yet, for those of features, weight and bias that are wanted."""
        pairs = zip(inputs, wanted, strict=True)
        return cls(*(torch.zeros_like(x, dtype=dtype) if needed else None for x, needed in pairs))

    def add(
        self,
        chunk: slice,
        grad_scores: Tensor,
        grad_bias: Tensor,
        features: Tensor,
        weight: Tensor,
    ) -> None:
        """What the scores of a chunk of tokens contribute."""
        if self.bias is not None:
            self.bias.add_(grad_bias)
        if self.features is not None:
            self.features[chunk] = grad_scores @ weight
        if self.weight is None:
            return
        if self.weight.dtype == features.dtype:
            self.weight.addmm_(grad_scores.t(), features)
            return
        for rows, share in zip(
            self.weight.split(LOSS_ROWS), grad_scores.t().split(LOSS_ROWS), strict=True
        ):
            rows.add_(share @ features)


def _tokens_at_once(features: Tensor, vocab_size: int) -> int:
    scores = LOSS_SCORES_ON_CPU if features.device.type == "cpu" else LOSS_SCORES_ON_GPU
    return max(LOSS_TOKENS, scores // vocab_size)


def _loss_of_chunk(products: Tensor, bias: Tensor) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """:func:`loss_of_chunk`, compiled where it can be."""
    kernels = kernels_for(bias)
    if kernels and products.dtype in kernels.DTYPES:
        compiled: Callable[..., tuple[Tensor, Tensor, Tensor]] = kernels.loss_of_chunk
        return compiled
    return loss_of_chunk


def loss_of_chunk(
    products: Tensor,
    bias: Tensor,
    target: Tensor,
    counts: Tensor,
    smoothing: Smoothing,
    differentiate: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of k tokens, whose scores are ``products + bias``.

    All but the products is in float32 or better.

    Args:
        products: k × vocab_size; with ``differentiate`` the gradient of the loss replaces them.
        bias: vocab_size.
        target: k.
        counts: k, 1 for the tokens that count and 0 for the others.
        smoothing: weights of the loss.
        differentiate: whether gradients are wanted.

    Returns:
        −log p[y] and −Σ_v log p[v] of each token, and the gradient of the bias.
    """
    scores = products + bias
    scores.sub_(scores.amax(1, keepdim=True))
    gold = target.unsqueeze(1)
    gold_score, all_scores = scores.gather(1, gold).squeeze(1), scores.sum(1)
    # on AMD's CPUs torch's exp takes three times as long as its exp2
    total = scores.mul_(1 / math.log(2)).exp2_().sum(1, keepdim=True)
    log_total = total.log().squeeze(1)
    nll, uniform = log_total - gold_score, len(bias) * log_total - all_scores
    if not differentiate:
        return nll, uniform, bias.new_empty(0)
    counted = counts.unsqueeze(1)
    scores.mul_(counted / total).sub_(smoothing.of_others * counted)
    scores.scatter_add_(1, gold, -smoothing.of_target * counted)
    products.copy_(scores)
    return nll, uniform, scores.sum(0)

"""From a decoder's features to scores or to a loss: the output embedding V, its bias, and P."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tiednmt.modules.int8 import Int8Linear

_CHUNK = 512  # tokens whose scores are held at once; torch's default is 4 times slower on CPU


class SequenceLoss(NamedTuple):
    """Sums over the tokens that count (nats)."""

    loss: Tensor  # what is minimised: NLL, smoothed if asked
    nll: Tensor  # the negative log-likelihood alone


class OutputLayer(nn.Module):
    """Scores every type of the vocabulary: ``V (P h) + b``.

    The layer holds the embedding *module*, not its weight: whatever replaces the parameter later
    (``load_state_dict(assign=True)``, a change of device or type, parametrisation) is seen by all
    its users, so that a tied matrix cannot come apart.

    Args:
        embedding: the output embedding V (types × dim); the same module as an input embedding
            where the two are tied.
        projection: put a matrix P (dim × dim, no bias) before V (Press & Wolf 2017, section 4).
    """

    def __init__(self, embedding: nn.Embedding, projection: bool = False) -> None:
        super().__init__()
        self.embedding = embedding
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))
        dim = embedding.embedding_dim
        self.projection = nn.Linear(dim, dim, bias=False) if projection else None
        self.int8: Int8Linear | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Unnormalised scores, … × types, for features of shape … × dim."""
        if self.projection is not None:
            features = self.projection(features)
        if self.int8 is not None:
            return self.int8(features)
        return F.linear(features, self.embedding.weight, self.bias)

    def quantise(self) -> None:
        """Round a copy of V to 8 bits, a scale a type, and score with it on the CPU from now on.

        For decoding: :meth:`loss` goes on with V itself.
        """
        self.int8 = Int8Linear(self.embedding.weight, self.bias)

    def loss(
        self, features: Tensor, target: Tensor, padding_idx: int, label_smoothing: float = 0.0
    ) -> SequenceLoss:
        """Summed loss of N features (N × dim) against N targets; padding does not count.

        Label smoothing is fairseq's: ε is spread over the V − 1 other types. It needs no scores
        beyond those of the NLL, since Σ_v log p_v = Σ_v (score_v) − V·logsumexp(scores).
        """
        if self.projection is not None:
            features = self.projection(features)
        nll = _linear_nll(features, self.embedding.weight, self.bias, target, padding_idx)
        if not label_smoothing:
            return SequenceLoss(nll, nll)
        types = self.bias.numel()
        counted = target.ne(padding_idx)
        features, target = _at_least_single(features[counted]), target[counted]
        weight, bias = _at_least_single(self.embedding.weight), _at_least_single(self.bias)
        gold = (features * F.embedding(target, weight)).sum() + bias[target].sum()
        all_scores = features.sum(0) @ weight.sum(0) + len(target) * bias.sum()
        uniform = types * (nll + gold) - all_scores
        share = label_smoothing / (types - 1)
        return SequenceLoss((1.0 - label_smoothing - share) * nll + share * uniform, nll)

    def penalty(self, weight: float) -> Tensor:
        """Projection regularisation: (λ/2)·‖P‖²_F for λ = ``weight``; zero without a P."""
        if self.projection is None:
            return self.bias.new_zeros(())
        return 0.5 * weight * self.projection.weight.float().square().sum()


def _linear_nll(
    features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, padding_idx: int
) -> Tensor:
    """Σ −log softmax(features Vᵀ + b)[target], chunk by chunk where torch can (≥ 2.13)."""
    if hasattr(F, "linear_cross_entropy"):
        # torch adds up in the type of the features, which a half type is too coarse for
        half = features.dtype in (torch.float16, torch.bfloat16)
        nll = F.linear_cross_entropy(
            features,
            weight,
            target,
            linear_bias=bias,
            reduction="none" if half else "sum",
            ignore_index=padding_idx,
            options=nn.LinearCrossEntropyOptions(batch_chunk_size=_CHUNK, acc_policy="compact"),
        )
        return nll.float().sum() if half else nll
    scores = _at_least_single(F.linear(features, weight, bias))
    return F.cross_entropy(scores, target, ignore_index=padding_idx, reduction="sum")


def _at_least_single(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))

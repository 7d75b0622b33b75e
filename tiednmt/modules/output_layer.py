"""From a decoder's features to scores or to a loss: the output embedding V, its bias, and P."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tiednmt.modules.cross_entropy import SequenceLoss, linear_cross_entropy
from tiednmt.modules.frozen_linear import Frozen, FrozenLinear
from tiednmt.modules.linear import linear, matmul_of


class OutputLayer(nn.Module):
    """Scores every entry of the vocabulary: ``V (P h) + b``.

    The layer holds the embedding *module*, not its weight: whatever replaces the parameter later
    (``load_state_dict(assign=True)``, a change of device or type, parametrisation) is seen by all
    its users, so that a tied matrix cannot come apart.

    Args:
        embedding: the output embedding V (vocabulary × dim); the same module as an input embedding
            where the two are tied.
        projection: put a matrix P (dim × dim) before V (Press & Wolf 2017, section 4).
        projection_bias: give P a bias, as in the code that the authors released.
    """

    def __init__(
        self, embedding: nn.Embedding, projection: bool = False, projection_bias: bool = False
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))
        dim = embedding.embedding_dim
        self.projection = nn.Linear(dim, dim, projection_bias) if projection else None
        self.frozen: Frozen[FrozenLinear | None] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Unnormalised scores, … × vocabulary, for features of shape … × dim."""
        if self.projection is not None:
            features = linear(self.projection, features)
        frozen = None
        if self.frozen is not None and not torch.is_grad_enabled():
            frozen = self.frozen(self.embedding.weight, self.bias)
        if frozen is not None:
            return frozen(features)
        return F.linear(features, self.embedding.weight, self.bias)

    def freeze(self, kind: type[FrozenLinear] | None) -> None:
        """Score with a copy of V where no gradient is recorded, or (``None``) with V itself.

        :meth:`loss` always uses V itself.
        """
        weight, bias = self.embedding.weight, self.bias
        self.frozen = None if kind is None else Frozen(kind.of, weight, bias)

    def loss(
        self, features: Tensor, target: Tensor, padding_idx: int, label_smoothing: float = 0.0
    ) -> SequenceLoss:
        """Summed loss of N features (N × dim) against N targets; padding does not count.

        Label smoothing is fairseq's: ε is spread over the V − 1 other entries. To be differentiated
        once (:func:`linear_cross_entropy`).
        """
        if target.device.type == "cpu":  # a GPU would have to wait for the number that is left
            counted = target.ne(padding_idx)
            features, target = features[counted], target[counted]
        if self.projection is not None:
            features = linear(self.projection, features)
        dtype, precision = matmul_of(self, features)
        features, weight = features.to(dtype), self.embedding.weight
        return linear_cross_entropy(
            features, weight, self.bias, target, padding_idx, label_smoothing, precision
        )

    def penalty(self, weight: float) -> Tensor:
        """Projection regularisation: (λ/2)·‖P‖²_F for λ = ``weight``; zero without a P.

        P's bias does not count.
        """
        if self.projection is None:
            return self.bias.new_zeros(())
        return 0.5 * weight * self.projection.weight.float().square().sum()

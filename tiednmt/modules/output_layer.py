"""From a decoder's features to scores or to a loss: the output embedding V, its bias, and P."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tiednmt.modules.cross_entropy import (
    PairLoss,
    SequenceLoss,
    linear_cross_entropy,
    pair_cross_entropy,
)
from tiednmt.modules.frozen_linear import Frozen, FrozenLinear, frozen_value
from tiednmt.modules.linear import linear, matmul_of
from tiednmt.modules.output_maps import OutputMapOptions


class OutputLayer(nn.Module):
    """Scores every entry of the vocabulary: ``V (P h) + b``.

    The layer holds the embedding *module*, not its weight. All users see whatever replaces the
    parameter later (``load_state_dict(assign=True)``, a change of device or dtype,
    parametrisation), so a tied matrix cannot come apart.

    Args:
        embedding: the matrix E (vocabulary × numbers per row) that V is, or is made of; the same
            module as an input embedding where the two are tied.
        projection: put a matrix P (dim × dim) before V (Press & Wolf 2017, section 4).
        projection_bias: give P a bias, as in the code that the authors released.
        dim: size of the features; if it differs from that of the rows, a matrix without bias
            projects the features.
        output_map: maps the rows of E, and the features, before scoring.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        projection: bool = False,
        projection_bias: bool = False,
        dim: int | None = None,
        output_map: OutputMapOptions | None = None,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))
        rank = embedding.embedding_dim
        self.dim = dim = rank if dim is None else dim  # of the features
        self.projection = nn.Linear(dim, dim, projection_bias) if projection else None
        self.down = nn.Linear(dim, rank, bias=False) if dim != rank else None
        if self.down is not None:
            nn.init.normal_(self.down.weight, std=dim**-0.5)  # scores keep their size
        options = output_map or OutputMapOptions()
        self.map = options.build(embedding.num_embeddings, rank)
        self.frozen: Frozen[Callable[[Tensor], Tensor] | None] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Unnormalised scores, … × vocabulary, for features of shape … × dim."""
        features = self._mapped(features)
        frozen = None if self._drops else frozen_value(self.frozen, *self._weights())
        if frozen is not None:
            return frozen(features)
        return F.linear(features, self.rows(), self.bias)

    def rows(self) -> Tensor:
        """V: what scores, vocabulary × numbers per mapped feature."""
        weight = self.embedding.weight
        return weight if self.map is None else self.map.rows(weight)

    def _mapped(self, features: Tensor) -> Tensor:
        """What meets the rows of V."""
        for layer in (self.projection, self.down):
            if layer is not None:
                features = linear(layer, features)
        return features if self.map is None else self.map.features(features)

    @property
    def _drops(self) -> bool:
        return self.map is not None and self.map.drops

    def freeze(self, kind: type[FrozenLinear] | None) -> None:
        """Score with a frozen copy of V where no gradient is recorded.

        Args:
            kind: what the copy is, such as packed or int8; None scores with V itself again.
                :meth:`loss` always uses V itself.
        """
        make = kind and (kind.of if self.map is None else partial(self._copy_of_map, kind))
        self.frozen = None if make is None else Frozen(make, *self._weights())

    def _weights(self) -> tuple[Tensor, ...]:
        """All that V and its bias are made of."""
        of_map = () if self.map is None else self.map.parameters()
        return self.embedding.weight, self.bias, *of_map

    def _copy_of_map(
        self, kind: type[FrozenLinear], _: Tensor, bias: Tensor, *__: Tensor
    ) -> Callable[[Tensor], Tensor]:
        """V as a copy, also where ``kind`` makes none: it is not to be mapped at every step."""
        assert self.map is not None
        training = self.map.training  # still, where a model is prepared before it is told
        self.map.eval()
        rows = self.rows()
        self.map.train(training)
        return kind.of(rows, bias) or partial(F.linear, weight=rows, bias=bias)

    def loss(
        self, features: Tensor, target: Tensor, padding_idx: int, label_smoothing: float = 0.0
    ) -> SequenceLoss:
        """The loss, summed over N tokens; it can be differentiated once.

        Args:
            features: of the decoder, N × dim.
            target: indices of the correct tokens, N.
            padding_idx: the target that does not count.
            label_smoothing: fairseq's ε, spread over the V − 1 other entries.

        Returns:
            Loss and negative log-likelihood, see :func:`linear_cross_entropy`.
        """
        features, target, precision = self._for_loss(features, target, padding_idx)
        how = padding_idx, label_smoothing, precision
        return linear_cross_entropy(features, self.rows(), self.bias, target, *how)

    def pair_loss(
        self,
        features: Tensor,
        target: Tensor,
        padding_idx: int,
        label_smoothing: float,
        alpha: float,
    ) -> PairLoss:
        """:meth:`loss` of two passes over the same N tokens, which are to agree (R-Drop).

        Args:
            features: of the decoder, N × 2 × dim.
            target: indices of the correct tokens, N.
            padding_idx: the target that does not count.
            label_smoothing: fairseq's ε, spread over the V − 1 other entries.
            alpha: the weight of the divergence, above 0.

        Returns:
            Loss, negative log-likelihood and divergence, see :func:`pair_cross_entropy`.
        """
        features, target, precision = self._for_loss(features, target, padding_idx)
        how = padding_idx, label_smoothing, alpha, precision
        return pair_cross_entropy(features, self.rows(), self.bias, target, *how)

    def _for_loss(
        self, features: Tensor, target: Tensor, padding_idx: int
    ) -> tuple[Tensor, Tensor, str]:
        """Mapped features in the dtype of their products, targets, and the products' precision.

        On a CPU only those of the tokens that count; a GPU would have to wait for their number.
        """
        if target.device.type == "cpu":
            counted = target.ne(padding_idx)
            features, target = features[counted], target[counted]
        features = self._mapped(features)
        dtype, precision = matmul_of(self, features)
        return features.to(dtype), target, precision

    def penalty(self, weight: float) -> Tensor:
        """Projection regularisation: (λ/2)·‖P‖²_F for λ = ``weight``; zero without a P.

        P's bias does not count.
        """
        if self.projection is None:
            return self.bias.new_zeros(())
        return 0.5 * weight * self.projection.weight.float().square().sum()

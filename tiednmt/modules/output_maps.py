"""Maps between a shared matrix E and the scores: of the rows of E, and of the features they meet.

A tied output layer scores with V = E. These maps make V a function of E, so that E can suit the
lookups and V the softmax. Each has a few parameters of its own, which start so that the first
scores are about those of V = E.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tiednmt.errors import UserError
from tiednmt.modules.dropout import SequenceDropout
from tiednmt.modules.linear import kept_exact, linear

NO_MAP, JOINT, RESIDUAL, LOW_RANK = "none", "joint", "residual", "low-rank"
OUTPUT_MAPS = (NO_MAP, JOINT, RESIDUAL, LOW_RANK)


class OutputMap(nn.Module):
    """Maps the rows and the features into the space where their products are the scores."""

    @property
    def drops(self) -> bool:
        """Whether the rows differ from call to call, because of dropout."""
        return False

    def rows(self, matrix: Tensor) -> Tensor:
        """The rows that score (rows × size), from a matrix of rows × dim."""
        return matrix

    def features(self, features: Tensor) -> Tensor:
        """The features that are scored (… × size), from features of … × dim."""
        return features


class JointMap(OutputMap):
    """tanh(E U + b_U) and tanh(h W + b_W): a joint input-output embedding.

    Pappas, Miculicich and Henderson 2018 (W18-6308).

    Args:
        dim: numbers per row and per feature.
        size: of the joint space.
    """

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.of_rows, self.of_features = kept_exact(nn.Linear(dim, size)), nn.Linear(dim, size)
        # this keeps the length of rows, and so the range of scores, whatever the size of the space
        nn.init.normal_(self.of_rows.weight, std=size**-0.5)
        nn.init.normal_(self.of_features.weight, std=dim**-0.5)
        for layer in (self.of_rows, self.of_features):
            nn.init.zeros_(layer.bias)

    def rows(self, matrix: Tensor) -> Tensor:
        """See :class:`OutputMap`."""
        return torch.tanh(linear(self.of_rows, matrix))

    def features(self, features: Tensor) -> Tensor:
        """See :class:`OutputMap`."""
        return torch.tanh(linear(self.of_features, features))


class ResidualMap(OutputMap):
    """E_k = tanh(E_{k−1} U_k + b_k) + E with E_0 = E: a deep residual output mapping (DRILL).

    Pappas and Henderson 2019 (arXiv 1905.05513). The U_k start from zero, so that the
    last E_k starts as E. The authors take a sigmoid or ReLU; a sigmoid is tanh but for scales and a
    constant, which in the last layer no softmax can see.

    Args:
        dim: numbers per row.
        depth: layers.
        dropout: before each layer, of the same numbers in all rows (variational).
        owner: see :class:`tiednmt.modules.dropout.Dropping`.
    """

    def __init__(
        self, dim: int, depth: int, dropout: float = 0.0, owner: str | None = None
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(kept_exact(nn.Linear(dim, dim)) for _ in range(depth))
        self.dropout = SequenceDropout(dropout, variational=True, owner=owner)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    @property
    def drops(self) -> bool:
        """See :class:`OutputMap`."""
        return self.dropout.drops_any

    def rows(self, matrix: Tensor) -> Tensor:
        """See :class:`OutputMap`."""
        mapped = matrix
        for layer in self.layers:
            mapped = torch.tanh(linear(layer, self.dropout(mapped))) + matrix
        return mapped


class LowRankMap(OutputMap):
    """E + A B: a correction of low rank, in the manner of LoRA (Hu et al. 2021, arXiv 2106.09685).

    A starts from zero, so that V starts as E.

    Args:
        rows: number of rows of E and of A.
        dim: numbers per row of E and of B.
        rank: of the correction.
    """

    def __init__(self, rows: int, dim: int, rank: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.zeros(rows, rank))  # A
        self.right = kept_exact(nn.Linear(rank, dim, bias=False))  # B, transposed
        nn.init.normal_(self.right.weight, std=dim**-0.5)

    def rows(self, matrix: Tensor) -> Tensor:
        """See :class:`OutputMap`."""
        return matrix + linear(self.right, self.left)


@dataclass(frozen=True)
class OutputMapOptions:
    """Which map, and how large.

    Args:
        name: one of :data:`OUTPUT_MAPS`.
        size: of the joint space (``joint``), or the rank (``low-rank``).
        depth: layers (``residual``).
        dropout: before each of the layers (``residual``).

    Raises:
        UserError: a map lacks what it needs or is given what it does not take.
    """

    name: str = NO_MAP
    size: int = 0
    depth: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in OUTPUT_MAPS:
            raise UserError(f"--output-map {self.name}: choose one of {', '.join(OUTPUT_MAPS)}")
        takers = {
            "--output-map-size": (self.size, (JOINT, LOW_RANK)),
            "--output-map-depth": (self.depth, (RESIDUAL,)),
        }
        for option, (number, maps) in takers.items():
            if number < 0:
                raise UserError(f"{option} {number}: must be 1 or more")
            if not number and self.name in maps:
                raise UserError(f"--output-map {self.name} needs {option}")
            if number and self.name not in maps:
                raise UserError(f"{option} is for --output-map {' and '.join(maps)} alone")
        if not 0 <= self.dropout < 1:
            raise UserError(f"--output-map-dropout {self.dropout}: must be from 0 to below 1")
        if self.dropout and self.name != RESIDUAL:
            raise UserError(f"--output-map-dropout is for --output-map {RESIDUAL} alone")

    def build(self, rows: int, dim: int) -> OutputMap | None:
        """The map for a matrix of rows × dim and features of … × dim; None where V is E."""
        if self.name == JOINT:
            return JointMap(dim, self.size)
        if self.name == RESIDUAL:
            return ResidualMap(dim, self.depth, self.dropout, "OutputLayer")
        if self.name == LOW_RANK:
            return LowRankMap(rows, dim, self.size)
        return None


def label(parameters: Mapping[str, Tensor]) -> str:
    """Name and size of the map that has these parameters, as ``joint-256``; empty without any."""
    if "left" in parameters:
        return f"{LOW_RANK}-{parameters['left'].size(1)}"
    layers = {name.split(".")[1] for name in parameters if name.startswith("layers.")}
    if layers:
        return f"{RESIDUAL}-{len(layers)}"
    biases = (p for name, p in parameters.items() if name.startswith("of_rows.") and p.dim() == 1)
    bias = next(biases, None)
    return "" if bias is None else f"{JOINT}-{len(bias)}"

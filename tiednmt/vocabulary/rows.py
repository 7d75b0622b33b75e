"""New rows from old ones: the arithmetic of vocabulary surgery, on tensors alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Which old rows each row of a new vocabulary is made of.

    Attributes:
        parts: for each new row, the old rows whose mean it is. The mean of a single row is a copy,
            bit for bit.
        new: the new rows whose units were not in the old vocabulary.
    """

    parts: Sequence[tuple[int, ...]]
    new: frozenset[int] = frozenset()

    @classmethod
    def kept(cls, rows: Sequence[int]) -> Rows:
        """The old ``rows``, in this order."""
        return cls([(row,) for row in rows])

    @cached_property
    def origins(self) -> dict[int, int]:
        """Old row → new row, for the units in both vocabularies."""
        return {part[0]: row for row, part in enumerate(self.parts) if row not in self.new}

    def of(self, old: Tensor) -> Tensor:
        """The new rows made from ``old`` (rows × …); means are computed in float64."""
        firsts = [part[0] for part in self.parts]
        first = torch.tensor(firsts, dtype=torch.long, device=old.device)
        made = old.index_select(0, first)
        for row, part in enumerate(self.parts):
            if len(part) > 1:
                made[row] = old[list(part)].double().mean(0).to(old.dtype)
        return made

    def without_new(self, old: Tensor) -> Tensor:
        """As :meth:`of`, but zero in the rows of new units."""
        made = self.of(old)
        if self.new:
            made[sorted(self.new)] = 0
        return made


def with_starts(matrix: Tensor, starts: Mapping[int, Tensor]) -> Tensor:
    """``matrix`` (rows × dim) with some rows replaced."""
    made = matrix.clone()
    for row, start in starts.items():
        made[row] = start.to(made.dtype)
    return made


def weighted_mean(matrices: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """The weighted mean of matrices (rows × …), row by row.

    It is accumulated in float64 and returned in the dtype of the first matrix.

    Args:
        matrices: all of the same shape.
        weights: for each matrix, one weight per row, 0 or more. A row whose weights are all 0 is
            the plain mean. A row with only one weight above 0 is a copy of that matrix's row, bit
            for bit.
    """
    stacked = torch.stack([weight.double() for weight in weights])
    stacked = torch.where(stacked.sum(0) > 0, stacked, torch.ones_like(stacked))
    shares = stacked / stacked.sum(0)
    shape = (-1, *(1,) * (matrices[0].dim() - 1))
    mean = sum(
        share.view(shape) * matrix.double() for share, matrix in zip(shares, matrices, strict=True)
    )
    assert isinstance(mean, Tensor)
    return mean.to(matrices[0].dtype)

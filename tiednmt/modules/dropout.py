"""Dropout for recurrent networks: drawn anew at every step, or once for a whole window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SequenceDropout(nn.Module):
    """Dropout on T × B × size.

    Args:
        rate: probability of a zero.
        fixed: one mask for all T steps of a window (Gal & Ghahramani 2016) instead of one a step
            (Zaremba et al. 2014).
    """

    def __init__(self, rate: float, fixed: bool = False) -> None:
        super().__init__()
        self.rate = rate
        self.fixed = fixed

    def forward(self, sequence: Tensor) -> Tensor:
        """Zero some, scale the others by 1 / (1 − rate); nothing changes in evaluation."""
        if not self.fixed or not self.training or not self.rate:
            return F.dropout(sequence, self.rate, self.training)
        return sequence * F.dropout(torch.ones_like(sequence[:1]), self.rate)

    def extra_repr(self) -> str:
        """For ``print(model)``."""
        return f"rate={self.rate}, fixed={self.fixed}"


class WordDropout(nn.Module):
    """Drops whole types of the vocabulary for a window (Gal & Ghahramani 2016, section 4.2)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, embedded: Tensor, tokens: Tensor, types: int) -> Tensor:
        """Zero the embeddings (T × B × dim) of the dropped among ``types``; ``tokens`` is T × B."""
        if not self.training or not self.rate:
            return embedded
        kept = F.dropout(embedded.new_ones(types), self.rate)
        return embedded * kept[tokens].unsqueeze(-1)

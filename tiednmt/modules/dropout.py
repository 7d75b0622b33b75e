"""Dropout for recurrent networks: drawn anew at every step, or once for a whole window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 1 << 16  # a random number of 16 bits decides over an element


def dropout(tensor: Tensor, rate: float, training: bool = True) -> Tensor:
    """``torch.nn.functional.dropout``, several times as fast on a CPU.

    There torch draws 64 random bits for every element; here four elements share them, so that the
    rate is one of multiples of 2⁻¹⁶.
    """
    if not training or not rate or tensor.device.type != "cpu":
        return F.dropout(tensor, rate, training)
    draws = torch.empty((tensor.numel() + 3) // 4, dtype=torch.int64, device=tensor.device)
    levels = draws.random_(-(1 << 63), None).view(torch.int16)[: tensor.numel()]
    kept = levels.view(tensor.shape) >= round(rate * _LEVELS) - _LEVELS // 2
    return tensor * kept.to(tensor.dtype).div_(1 - rate)


class Dropout(nn.Module):
    """:func:`dropout` as a module.

    Args:
        rate: probability of a zero.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, tensor: Tensor) -> Tensor:
        """Zero some, scale the others by 1 / (1 − rate); nothing changes in evaluation."""
        return dropout(tensor, self.rate, self.training)

    def extra_repr(self) -> str:
        """For ``print(model)``."""
        return f"rate={self.rate}"


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
            return dropout(sequence, self.rate, self.training)
        return sequence * dropout(torch.ones_like(sequence[:1]), self.rate)

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
        kept = dropout(embedded.new_ones(types), self.rate)
        return embedded * kept[tokens].unsqueeze(-1)

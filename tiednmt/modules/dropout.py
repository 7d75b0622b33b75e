"""Dropout for recurrent networks: sampled at every step, or once for a whole window."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tiednmt.kernels import cpu_kernels_for

_LEVELS = 1 << 16  # of the 16-bit random number that decides about an element


def dropout(tensor: Tensor, rate: float, training: bool = True) -> Tensor:
    """``torch.nn.functional.dropout``, several times as fast on a CPU.

    torch draws 64 random bits for every element there. This draws 16, so the rate is rounded to a
    multiple of 2⁻¹⁶.
    """
    if not training or not rate:
        return tensor
    if tensor.device.type != "cpu":
        return F.dropout(tensor, rate)
    if cpu_kernels_for(tensor):
        dropped: Tensor = _Dropped.apply(tensor, rate)
        return dropped
    draws = torch.empty((tensor.numel() + 3) // 4, dtype=torch.int64, device=tensor.device)
    levels = draws.random_(-(1 << 63), None).view(torch.int16)[: tensor.numel()]
    kept = levels.view(tensor.shape) >= round(rate * _LEVELS) - _LEVELS // 2
    return tensor * kept.to(tensor.dtype).div_(1 - rate)


class Draw(NamedTuple):
    """The parameters of a random draw, which the kernels repeat in the backward pass."""

    threshold: int  # of 2¹⁶ levels; 0: nothing is dropped
    scale: float  # of what is kept
    seed: int


def draw(rate: float) -> Draw:
    """The next dropout at this rate."""
    if not rate:
        return Draw(0, 1.0, 0)
    seed = int(torch.empty((), dtype=torch.int64).random_())
    return Draw(round(rate * _LEVELS), 1 / (1 - rate), seed)


class _Dropped(torch.autograd.Function):
    """Dropout drawn from a seed, from which the backward pass draws it again."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rate: float) -> Tensor:
        ctx.draw = draw(rate)
        return _drop(tensor, ctx.draw)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _drop(grad, ctx.draw), None


def _drop(tensor: Tensor, drawn: Draw) -> Tensor:
    kernels = cpu_kernels_for(tensor)
    assert kernels is not None
    dropped: Tensor = kernels.drop(tensor, *drawn)
    return dropped


def owners_in(modules: str | Collection[str]) -> set[str]:
    """The names given as ``--retain-dropout-modules``, which the command line leaves as one string.

    Several are separated by commas or spaces.
    """
    return set(modules.replace(",", " ").split() if isinstance(modules, str) else modules)


class Dropping(nn.Module):
    """A module with dropout in training, and in evaluation if it is told to retain it.

    Args:
        owner: name of the class that the dropout belongs to, as in ``--retain-dropout-modules``.
    """

    retained = False

    def __init__(self, owner: str | None = None) -> None:
        super().__init__()
        self.owner = owner

    @property
    def drops(self) -> bool:
        """Whether dropout applies now, whatever its rate."""
        return self.training or self.retained

    def make_generation_fast_(
        self,
        name: str,
        retain_dropout: bool = False,
        retain_dropout_modules: str | Collection[str] | None = None,
        **_: Any,
    ) -> None:
        """Retain dropout in evaluation, if asked; fairseq calls this on every module of a model.

        Args:
            name: of the module within the model.
            retain_dropout: whether evaluation retains dropout.
            retain_dropout_modules: the owners that do, if not all; see :func:`owners_in`.
        """
        self.retained = retain_dropout and (
            retain_dropout_modules is None or self.owner in owners_in(retain_dropout_modules)
        )


class Dropout(Dropping):
    """:func:`dropout` as a module.

    Args:
        rate: probability of a zero.
        owner: see :class:`Dropping`.
    """

    def __init__(self, rate: float, owner: str | None = None) -> None:
        super().__init__(owner)
        self.rate = rate

    @property
    def drops_any(self) -> bool:
        """Whether :meth:`forward` is not the identity now."""
        return self.drops and self.rate > 0

    def forward(self, tensor: Tensor) -> Tensor:
        """Zero some, scale the others by 1 / (1 − rate); identity in evaluation."""
        return dropout(tensor, self.rate, self.drops)

    def extra_repr(self) -> str:
        """For ``print(model)``."""
        return f"rate={self.rate}"


class SequenceDropout(Dropout):
    """Dropout on T × B × size.

    Args:
        rate: probability of a zero.
        variational: draw one mask for all T steps of a window (Gal & Ghahramani 2016) instead of
            one per step (Zaremba et al. 2014).
        owner: see :class:`Dropping`.
    """

    def __init__(self, rate: float, variational: bool = False, owner: str | None = None) -> None:
        super().__init__(rate, owner)
        self.variational = variational

    def forward(self, sequence: Tensor) -> Tensor:
        """Zero some, scale the others by 1 / (1 − rate); identity in evaluation."""
        if not self.variational or not self.drops_any:
            return super().forward(sequence)
        return sequence * dropout(torch.ones_like(sequence[:1]), self.rate)

    def extra_repr(self) -> str:
        """For ``print(model)``."""
        return f"{super().extra_repr()}, variational={self.variational}"


class WordDropout(Dropout):
    """Drops whole vocabulary entries for a window (Gal & Ghahramani 2016, section 4.2)."""

    def forward(  # type: ignore[override]
        self, embedded: Tensor, tokens: Tensor, vocab_size: int
    ) -> Tensor:
        """Zero the embeddings (T × B × dim) of the entries dropped; ``tokens`` is T × B."""
        if not self.drops_any:
            return embedded
        kept = dropout(embedded.new_ones(vocab_size), self.rate)
        return embedded * kept[tokens].unsqueeze(-1)

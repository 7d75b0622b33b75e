"""What stands between the rows of an embedding matrix and the layers that read them.

A softmax wants short rows: its scores start near zero, and so flat. The layers above an input
embedding want entries of the size of their states. One matrix that is both needs a scale between
its uses; untied models gain from it as well, since Adam moves short and long rows alike.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tiednmt.errors import UserError

SQRT_DIM, LEARNED = "sqrt-dim", "learned"


class LookupScale(nn.Module):
    """Multiplies the rows that are looked up in an embedding matrix.

    Args:
        start: the factor, or what it starts from.
        learned: whether it is a parameter.
        gradient_scale: what the matrix' gradient from the lookups is multiplied by, beyond
            ``start`` (Lopardo et al. 2026, arXiv 2603.26663).
    """

    def __init__(
        self, start: float = 1.0, learned: bool = False, gradient_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.start = start
        self.gradient_scale = gradient_scale
        self.factor = nn.Parameter(torch.tensor(start)) if learned else None

    @classmethod
    def of(cls, option: str, dim: int, default: float, gradient_scale: float = 1.0) -> LookupScale:
        """The scale that ``--input-scale`` asks for.

        Args:
            option: a number above zero, ``sqrt-dim`` or ``learned``.
            dim: numbers per row.
            default: what ``learned`` starts from.
            gradient_scale: of ``--input-gradient-scale``.

        Raises:
            UserError: it is none of these.
        """
        if gradient_scale < 0 or not math.isfinite(gradient_scale):
            raise UserError(f"--input-gradient-scale {gradient_scale}: must be 0 or more")
        if option == LEARNED:
            return cls(default, learned=True, gradient_scale=gradient_scale)
        try:
            start = math.sqrt(dim) if option == SQRT_DIM else float(option)
        except ValueError:
            start = math.nan
        if not 0 < start < math.inf:
            raise UserError(
                f"--input-scale {option}: must be a number above 0, {SQRT_DIM} or {LEARNED}"
            )
        return cls(start, gradient_scale=gradient_scale)

    def forward(self, rows: Tensor) -> Tensor:
        """The rows (… × dim), scaled."""
        if self.gradient_scale != 1:
            rows = _ScaledGradient.apply(rows, self.gradient_scale)
        if self.factor is not None:
            return rows * self.factor
        return rows if self.start == 1 else rows * self.start

    @property
    def value(self) -> float:
        """The factor now."""
        return self.start if self.factor is None else float(self.factor.detach())

    def extra_repr(self) -> str:
        """For ``print(model)``."""
        learned = ", learned" if self.factor is not None else ""
        return f"{self.value:g}{learned}, gradient_scale={self.gradient_scale:g}"


class _ScaledGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return rows.view_as(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad * ctx.scale, None

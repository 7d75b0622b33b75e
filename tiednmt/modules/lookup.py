"""What stands between the rows of an embedding matrix and the layers that read them.

A softmax wants short rows: its scores start near zero, and so flat. The layers above an input
embedding want entries of the size of their states. One matrix that is both needs a scale between
its uses; untied models gain from it as well, since Adam moves short and long rows alike.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tiednmt.errors import UserError

logger = logging.getLogger(__name__)

SQRT_DIM, LEARNED = "sqrt-dim", "learned"
FACTOR, CONSTANT = "factor", "constant"  # in a state dict: learned or not; neither: a factor of 1


class LookupScale(nn.Module):
    """Multiplies the rows that are looked up in an embedding matrix.

    The factor belongs to the rows that were trained with it, so a state dict holds it, and loading
    one sets it whatever the options say. Rows without a factor were trained with 1.

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
    def of(
        cls,
        option: str,
        dim: int,
        default: float,
        gradient_scale: float = 1.0,
        name: str = "--input-scale",
    ) -> LookupScale:
        """The scale that ``--input-scale`` asks for.

        Args:
            option: a number above zero, ``sqrt-dim`` or ``learned``.
            dim: numbers per row.
            default: what ``learned`` starts from.
            gradient_scale: of ``--input-gradient-scale``.
            name: of the option, for messages.

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
            raise UserError(f"{name} {option}: must be a number above 0, {SQRT_DIM} or {LEARNED}")
        return cls(start, gradient_scale=gradient_scale)

    def forward(self, rows: Tensor) -> Tensor:
        """The rows (… × dim), scaled."""
        if self.gradient_scale != 1:
            rows = _ScaledGradient.apply(rows, self.gradient_scale)
        if self.factor is not None:
            return rows * self.factor
        return rows if self.start == 1 else rows * self.start

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.factor is None and self.start != 1:
            destination[prefix + CONSTANT] = torch.tensor(self.start, device="cpu")

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        stored = state_dict.pop(prefix + CONSTANT, None)
        stored = state_dict.pop(prefix + FACTOR, stored)
        value = 1.0 if stored is None else float(stored)
        if self.factor is not None:
            state_dict[prefix + FACTOR] = torch.tensor(value)
        elif not math.isclose(value, self.start, rel_tol=1e-5):
            logger.info("lookups are scaled by %g, as in the checkpoint", value)
            self.start = value
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

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

"""The operations between the rows of an embedding matrix and the layers that read them.

A softmax wants short rows: its scores start near zero, and so flat. The layers above an input
embedding want entries of the size of their states. One matrix that is both needs a scale between
its uses; untied models gain from it as well, since Adam moves short and long rows alike. Rows of a
side's own may stand before the scale, and a projection behind it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tiednmt.errors import CheckpointError, UserError
from tiednmt.modules.linear import linear

logger = logging.getLogger(__name__)

SQRT_DIM, LEARNED = "sqrt-dim", "learned"
FACTOR, CONSTANT = "factor", "constant"  # in a state dict: learned or not; neither: a factor of 1


class LookupScale(nn.Module):
    """Multiplies the rows that are looked up in an embedding matrix.

    Rows are only useful with the factor they were trained with. So the state dict stores it, and
    loading sets it whatever the options say. A state dict that holds the matrix without a factor
    was trained with 1; one without the matrix changes nothing.

    Args:
        start: the factor, or what it starts from.
        learned: whether it is a parameter.
        gradient_scale: a factor on the matrix's gradient from the lookups, in addition to
            ``start`` (Lopardo et al. 2026, arXiv 2603.26663). Private rows have none.
        up: a layer without bias that projects shorter rows up to the embedding's size, initialised
            to keep their norm (factorised embeddings: Lan et al. 2020, ALBERT).
        private: rows that replace those of the matrix.
    """

    def __init__(
        self,
        start: float = 1.0,
        learned: bool = False,
        gradient_scale: float = 1.0,
        up: nn.Linear | None = None,
        private: PrivateRows | None = None,
    ) -> None:
        super().__init__()
        self.start = start
        self.gradient_scale = gradient_scale
        self.factor = nn.Parameter(torch.tensor(start)) if learned else None
        self.private = private
        self.up = up
        if up is not None:
            nn.init.normal_(up.weight, std=up.out_features**-0.5)

    @classmethod
    def of(
        cls,
        option: str,
        dim: int,
        default: float,
        gradient_scale: float = 1.0,
        name: str = "--input-scale",
        up: nn.Linear | None = None,
        private: PrivateRows | None = None,
    ) -> LookupScale:
        """The scale that ``--input-scale`` asks for.

        Args:
            option: a number above zero, ``sqrt-dim`` or ``learned``.
            dim: numbers per row.
            default: what ``learned`` starts from.
            gradient_scale: of ``--input-gradient-scale``.
            name: of the option, for messages.
            up: see the class.
            private: see the class.

        Raises:
            UserError: it is none of these.
        """
        if gradient_scale < 0 or not math.isfinite(gradient_scale):
            raise UserError(f"--input-gradient-scale {gradient_scale}: must be 0 or more")
        if option == LEARNED:
            return cls(default, True, gradient_scale, up, private)
        try:
            start = math.sqrt(dim) if option == SQRT_DIM else float(option)
        except ValueError:
            start = math.nan
        if not 0 < start < math.inf:
            raise UserError(f"{name} {option}: must be a number above 0, {SQRT_DIM} or {LEARNED}")
        return cls(start, False, gradient_scale, up, private)

    def forward(self, rows: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Scale, project and replace the rows looked up.

        Args:
            rows: … × numbers per row.
            tokens: …, the tokens of these rows; needed if some have private rows.

        Returns:
            … × numbers per embedding.
        """
        if self.gradient_scale != 1:
            rows = _ScaledGradient.apply(rows, self.gradient_scale)
        if self.private is not None:
            assert tokens is not None, (
                "the side that has private rows says which tokens it looks up"
            )
            rows = self.private(rows, tokens)
        if self.factor is not None:
            rows = rows * self.factor
        elif self.start != 1:
            rows = rows * self.start
        return rows if self.up is None else linear(self.up, rows)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.factor is None and self.start != 1:
            destination[prefix + CONSTANT] = torch.tensor(
                self.start, dtype=torch.float64, device="cpu"
            )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        stored = [state_dict.pop(prefix + name, None) for name in (FACTOR, CONSTANT)]
        factor = next((one for one in stored if one is not None), None)
        if self.factor is not None:
            state_dict[prefix + FACTOR] = self.factor if factor is None else factor
        elif factor is not None and not math.isclose(float(factor), self.start, rel_tol=1e-5):
            self.start = float(factor)
            logger.info("lookups are scaled by %g, as in the checkpoint", self.start)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    @property
    def value(self) -> float:
        """The factor now."""
        return self.start if self.factor is None else float(self.factor.detach())

    def extra_repr(self) -> str:
        """For ``print(model)``."""
        learned = ", learned" if self.factor is not None else ""
        return f"{self.value:g}{learned}, gradient_scale={self.gradient_scale:g}"


def scale_old_lookups_by_one(
    _side: nn.Module, state: dict[str, Any], prefix: str, *_: object
) -> None:
    """Load-state-dict pre-hook of a module with ``embedding`` and ``input_scale``.

    A matrix that comes without a factor was trained with 1.
    """
    names = [f"{prefix}input_scale.{name}" for name in (FACTOR, CONSTANT)]
    if f"{prefix}embedding.weight" in state and not any(name in state for name in names):
        state[names[1]] = torch.tensor(1.0)


class PrivateRows(nn.Module):
    """Rows of some units that one side looks up instead of those of a shared matrix.

    So a matrix is tied in part. (In *Shared-Private Bilingual Word Embeddings*, Liu et al. 2019,
    arXiv 1906.03100, a part of each row is private.) Which units these are stands in the state, so
    that a checkpoint can be used without the list of them.

    Args:
        units: entries of the vocabulary; None where a checkpoint is to say which.
        dim: numbers per row.
        source: where the units stand, for messages.
    """

    def __init__(self, units: Sequence[int] | None, dim: int, source: str = "") -> None:
        super().__init__()
        self.listed = None if units is None else sorted(set(units))
        self.source = source
        self.weight = nn.Parameter(torch.empty(len(self.listed or ()), dim))
        nn.init.normal_(self.weight, std=dim**-0.5)
        # ascending; fairseq's averages leave alone what has "version" in its name
        self.units_version: Tensor
        self.register_buffer("units_version", torch.tensor(self.listed or [], dtype=torch.long))

    @property
    def missing(self) -> str:
        """What to say where neither a list nor a checkpoint says which units these are."""
        return f"--private-units {self.source}: no such file, here or in the data-bin"

    def forward(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """The rows (… × dim) of ``tokens`` (…), those of the units replaced."""
        units = self.units_version
        if not len(units):
            raise UserError(self.missing)
        places = torch.searchsorted(units, tokens.contiguous()).clamp_max_(len(units) - 1)
        private = F.embedding(places, self.weight)
        return torch.where((units[places] == tokens).unsqueeze(-1), private, rows)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        stored = state_dict.get(prefix + "units_version")
        if stored is not None and self.listed is None:
            self.weight = nn.Parameter(self.weight.new_empty(len(stored), self.weight.size(1)))
            self.units_version = self.units_version.new_empty(len(stored))
        elif stored is not None and stored.long().tolist() != self.listed:
            raise CheckpointError(
                f"the checkpoint was trained with other --private-units than those in "
                f"{self.source}; give the file that it was trained with"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """For ``print(model)``."""
        return f"{len(self.weight)}, {self.weight.size(1)}"


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

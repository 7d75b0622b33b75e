"""Linear layers of weights that no longer change, for decoding on a CPU."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tiednmt.kernels import cpu_kernels_for

_LARGEST = 127


class PackedLinear(nn.Module):
    """``x Wᵀ + b`` in single precision, W in the order in which oneDNN reads it.

    With a copy of W in this order, a product with few rows takes half to two thirds of the time.

    Args:
        weight: W, out × in, in single precision and on the CPU.
        bias: out, or none.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
        self._bias = None if bias is None else bias.detach()

    def forward(self, features: Tensor) -> Tensor:
        """… × out, for features of shape … × in."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            features, self._weight, self._bias, "none", [], ""
        )
        return result

    def __deepcopy__(self, _: dict[int, object]) -> PackedLinear:
        return self  # nothing of it changes, and torch cannot copy what oneDNN packed

    @staticmethod
    def serves(weight: Tensor) -> bool:
        """Whether there can be one of this weight."""
        return weight.dtype == torch.float32 and weight.device.type == "cpu" and _has_packed()


@cache
def _has_packed() -> bool:
    """Whether torch has these operations, which it keeps for its own compiler, on this CPU."""
    weight, features = torch.eye(3, 4), torch.ones(2, 4)
    try:
        found = PackedLinear(weight)(features)
    except (AttributeError, RuntimeError):
        return False
    return torch.equal(found, F.linear(features, weight))


class Int8Linear(nn.Module):
    """``x Wᵀ + b`` with W and x rounded to 8 bits, a scale each row of W and each row of x.

    The products are added up as whole numbers, so that a row's result depends on no other row.

    Args:
        weight: W, out × in; a rounded copy is kept, on the CPU.
        bias: out, or none.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        weight = weight.detach().float().cpu()
        whole, scale = _rounded(weight)
        bias = weight.new_zeros(len(weight)) if bias is None else bias.detach().float().cpu()
        # transposed, but contiguous before: the layout whose product is fast
        self.register_buffer("weight", whole.t(), persistent=False)
        self.register_buffer("scale", scale.squeeze(1), persistent=False)
        self.register_buffer("bias", bias.clone(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """… × out, for features of shape … × in."""
        whole, scale = _rounded(features.float().reshape(-1, features.size(-1)))
        product = _rescaled(torch._int_mm(whole, self.weight), scale, self.scale, self.bias)
        return product.view(*features.shape[:-1], len(self.scale))


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers of 8 bits and the scale (N × 1) that makes them ``rows`` (N × n) again."""
    kernels = cpu_kernels_for(rows)
    if kernels:
        compiled: tuple[Tensor, Tensor] = kernels.round_rows(rows)
        return compiled
    scale = rows.abs().amax(1, keepdim=True).clamp_min_(torch.finfo(rows.dtype).tiny) / _LARGEST
    return (rows / scale).round_().to(torch.int8), scale


def _rescaled(product: Tensor, of_row: Tensor, of_column: Tensor, bias: Tensor) -> Tensor:
    """A product of whole numbers (N × n) as what was rounded, plus the bias."""
    kernels = cpu_kernels_for(bias)
    if kernels:
        compiled: Tensor = kernels.rescale(product, of_row, of_column, bias)
        return compiled
    scaled = product.float().mul_(of_row)
    return torch.addcmul(bias, scaled, of_column, out=scaled)


FixedLinear = PackedLinear | Int8Linear

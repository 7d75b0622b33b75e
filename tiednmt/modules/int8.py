"""A linear layer with weights of 8 bits, for decoding on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LARGEST = 127


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
        product = torch._int_mm(whole, self.weight).float().mul_(scale)
        product = torch.addcmul(self.bias, product, self.scale, out=product)
        return product.view(*features.shape[:-1], -1)


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers of 8 bits and the scale (N × 1) that makes them ``rows`` (N × n) again."""
    scale = rows.abs().amax(1, keepdim=True).clamp_min_(torch.finfo(rows.dtype).tiny) / _LARGEST
    return (rows / scale).round_().to(torch.int8), scale

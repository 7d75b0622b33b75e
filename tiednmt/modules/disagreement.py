"""How far two predictions of the same tokens differ, for R-Drop.

Source: Liang et al. 2021, "R-Drop: Regularized Dropout for Neural Networks", equation 2.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tiednmt.modules.cross_entropy import tokens_at_once
from tiednmt.modules.linear import Matmul, multiply


def disagreement(
    features: Tensor, others: Tensor, weight: Tensor, bias: Tensor, matmul: Matmul
) -> Tensor:
    """½ [KL(p‖q) + KL(q‖p)] in nats, summed over N tokens, in single precision or better.

    p is the softmax of ``features weightᵀ + bias``, q that of ``others``. The scores of a few
    tokens are held at a time; the backward pass computes them again.

    Args:
        features: N × dim.
        others: N × dim.
        weight: vocab_size × dim.
        bias: vocab_size.
        matmul: how the scores are computed.
    """
    of_chunk = partial(_of_chunk, matmul=matmul)
    at_once = tokens_at_once(features, len(weight))
    total = bias.new_zeros((), dtype=torch.promote_types(features.dtype, torch.float32))
    for h, other in zip(features.split(at_once), others.split(at_once), strict=True):
        total = total + checkpoint(of_chunk, h, other, weight, bias, use_reentrant=False)
    return total


def _of_chunk(
    features: Tensor, others: Tensor, weight: Tensor, bias: Tensor, matmul: Matmul
) -> Tensor:
    single = torch.promote_types(features.dtype, torch.float32)
    log_p, log_q = (
        multiply(rows, weight, bias, matmul).to(single).log_softmax(1)
        for rows in (features, others)
    )
    return 0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum()

"""How far two predictions of the same tokens differ, for R-Drop.

Source: Liang et al. 2021, "R-Drop: Regularized Dropout for Neural Networks", equation 2.
"""

from __future__ import annotations

import math

from torch import Tensor

from tiednmt.kernels import cpu_kernels_for


def divergence_of_pairs(products: Tensor, bias: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """½ [KL(p‖q) + KL(q‖p)] in nats, summed over k pairs of predictions p and q.

    With d = log p − log q, its gradient with respect to the scores of p is
    ½ [p (d − KL(p‖q) + 1) − q], and likewise that of q.

    Args:
        products: 2k × vocab_size, a row of p and a row of q in turn; ``products + bias`` are the
            scores.
        bias: vocab_size, in float32 or better.
        counts: 2k, 1 for the tokens that count and 0 for the others.

    Returns:
        The sum, and its gradient with respect to the scores, in the type of the bias.
    """
    kernels = cpu_kernels_for(bias)
    if kernels and products.dtype in kernels.DTYPES:
        compiled: tuple[Tensor, Tensor] = kernels.divergence_of_pairs(products, bias, counts)
        return compiled
    scores = products + bias
    scores.sub_(scores.amax(1, keepdim=True))
    # exp2, as in the loss of a chunk
    shares = scores.mul(1 / math.log(2)).exp2_()
    totals = shares.sum(1, keepdim=True)
    shares.div_(totals)
    scores.sub_(totals.log_())
    p, q = shares[::2], shares[1::2]
    log_ratio = scores[::2] - scores[1::2]
    total, half = scores.new_zeros(()), 0.5 * counts[::2].unsqueeze(1)
    for (one, other), grad in zip(((p, q), (q, p)), (scores[::2], scores[1::2]), strict=True):
        weighted = one * log_ratio
        kl = weighted.sum(1, keepdim=True)
        total += (half * kl).sum()
        grad.copy_(weighted.addcmul_(one, 1 - kl).sub_(other).mul_(half))
        log_ratio.neg_()
    return total, scores

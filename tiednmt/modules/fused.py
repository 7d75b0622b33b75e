"""Whether the steps of a recurrent network run as one kernel each."""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


def kernels_for(tensor: Tensor) -> ModuleType | None:
    """:mod:`tiednmt.modules.kernels` where tensors like this one are on a GPU that can run them."""
    return _kernels(tensor.device) if tensor.is_cuda else None


@cache
def _kernels(device: torch.device) -> ModuleType | None:
    """The kernels, or None where Triton, or the C compiler that it needs, is missing."""
    try:
        from tiednmt.modules import kernels

        kernels.try_out(device)
    except Exception as error:
        logger.warning("the steps of the decoder run without fused kernels, slower: %s", error)
        return None
    return kernels

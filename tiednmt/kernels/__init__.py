"""Compiled kernels, each of which replaces many operations of torch."""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


def kernels_for(tensor: Tensor) -> ModuleType | None:
    """The kernels of a step for tensors like this one; None if there are none.

    They are :mod:`~tiednmt.kernels.gpu` or :mod:`~tiednmt.kernels.cpu`, which both have ``step``,
    ``step_back``, ``lstm_step``, ``lstm_step_back``, ``attend`` and ``attend_back``, and
    ``loss_of_chunk`` for products of ``DTYPES``.
    """
    return _gpu_kernels(tensor.device) if tensor.is_cuda else cpu_kernels_for(tensor)


def cpu_kernels_for(tensor: Tensor) -> ModuleType | None:
    """:mod:`tiednmt.kernels.cpu` if it takes tensors like this one."""
    taken = tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)
    return _cpu_kernels() if taken else None


def decoding_kernels_for(tensor: Tensor) -> ModuleType | None:
    """:func:`cpu_kernels_for`, but None if gradients are recorded: autograd sees no kernels."""
    return None if torch.is_grad_enabled() else cpu_kernels_for(tensor)


@cache
def _cpu_kernels() -> ModuleType | None:
    """The kernels, or None if they were not compiled."""
    try:
        from tiednmt.kernels import cpu
    except ImportError as error:
        logger.warning("running without some optimisations: %s", error)
        return None
    return cpu


@cache
def _gpu_kernels(device: torch.device) -> ModuleType | None:
    """The kernels, or None if Triton or the C compiler that it needs is missing."""
    try:
        from tiednmt.kernels import gpu

        gpu.try_out(device)
    except Exception as error:
        logger.warning("the decoder runs without fused kernels and more slowly: %s", error)
        return None
    return gpu

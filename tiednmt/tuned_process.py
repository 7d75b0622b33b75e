"""Settings of the process that make training and decoding on a CPU faster, and change no result."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from functools import cache

import torch

from tiednmt.kernels.tuning import (
    FREED_BYTES_KEPT,
    IDEEP_KERNELS_KEPT,
    ONEDNN_KERNELS_KEPT,
    SMALL_TENSOR_BYTES,
)
from tiednmt.processor import is_amd

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


@cache
def tune_process() -> None:
    """Apply all settings, once per process, where training or decoding starts."""
    keep_freed_memory()
    keep_few_kernels()
    use_exact_onednn()


def keep_freed_memory() -> None:
    """Have glibc keep up to a gigabyte of freed memory for the next tensor of under 32 MB.

    By default glibc returns it to the system, so each update of training on a CPU waits for as many
    fresh pages as the one before. Other C libraries are left alone.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, SMALL_TENSOR_BYTES)
        mallopt(_M_TRIM_THRESHOLD, FREED_BYTES_KEPT)


def keep_few_kernels() -> None:
    """Have oneDNN keep the kernels of few shapes, unless the environment says how many.

    It makes one for every shape of a product, of one to two megabytes each, and the next batch has
    other shapes. This must be called before the first product.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(ONEDNN_KERNELS_KEPT))
    os.environ.setdefault("LRU_CACHE_CAPACITY", str(IDEEP_KERNELS_KEPT))  # of ideep, above oneDNN


def use_exact_onednn() -> None:
    """On an AMD CPU with AVX-512, let oneDNN compute float32 products, at full precision.

    torch's default there (MKL) is slow. What makes torch take oneDNN is its float32 precision
    ``medium``, under which oneDNN rounds nothing on a CPU without AMX. Without AVX-512 torch stays
    with MKL, which then is as fast.
    """
    if torch.get_float32_matmul_precision() == "highest" and _has_exact_onednn():
        torch.set_float32_matmul_precision("medium")


@cache
def _has_exact_onednn() -> bool:
    may_round = getattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    return (
        is_amd()
        and torch.backends.mkldnn.is_available()
        and not may_round()
        and not torch.cuda.is_available()  # whose products the setting would round
    )

"""What the libraries beneath torch do with memory on a CPU."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT, _SMALL = 2**30, 2**25  # bytes
# environment variables of oneDNN and of ideep, torch's layer over it; each keeps 1,024 by default
_KERNELS_KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "1"}


def keep_freed_memory() -> None:
    """Have glibc keep up to a gigabyte of freed memory for the next tensor of under 32 MB.

    By default it hands it back to the system, and an update of training on a CPU then waits for as
    many fresh pages as the update before. Other C libraries are left as they are.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _SMALL)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def keep_few_kernels() -> None:
    """Have oneDNN keep the kernels of few shapes, unless the environment says how many.

    It makes one for every shape of a product. Each takes one to two megabytes, and the next batch
    has other shapes. To be called before the first product.
    """
    for name, number in _KERNELS_KEPT.items():
        os.environ.setdefault(name, number)

"""What the C library does with memory that a tensor has left."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT, _SMALL = 2**30, 2**25  # bytes


def keep_freed_memory() -> None:
    """Have glibc keep up to a gigabyte of freed memory for the next tensor of under 32 MB.

    By default it hands it back to the system, and an update of training on a CPU then waits for as
    many fresh pages as the update before. Other C libraries are left as they are.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _SMALL)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)

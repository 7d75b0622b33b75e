"""CRC-32, by ``checksum.cpp`` if it is compiled for this CPU, or else by zlib."""

from __future__ import annotations

import ctypes
import zlib
from importlib.util import find_spec

import numpy as np

_BLOCK, _LEAST = 16, 64  # bytes: what the kernel takes a multiple of, and at least


def _load() -> ctypes.CDLL | None:
    """The compiled kernel; None if there is none, or one of another version or for another CPU."""
    compiled = find_spec("tiednmt.kernels._cpu")
    if compiled is None or compiled.origin is None:
        return None
    try:
        kernels = ctypes.CDLL(compiled.origin)
        usable = kernels.has_crc32()
    except (OSError, AttributeError):
        return None
    kernels.crc32_of_blocks.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint32]
    kernels.crc32_of_blocks.restype = ctypes.c_uint32
    return kernels if usable else None


_kernels = _load()


def crc32(data: memoryview, before: int = 0) -> int:
    """The value of ``zlib.crc32``, computed while other threads run.

    Args:
        data: contiguous bytes.
        before: the CRC-32 of what comes before them.
    """
    whole = len(data) - len(data) % _BLOCK
    if _kernels is not None and whole >= _LEAST:
        place = np.frombuffer(data, np.uint8).ctypes.data
        before = _kernels.crc32_of_blocks(place, whole, before)
        data = data[whole:]
    return zlib.crc32(data, before)

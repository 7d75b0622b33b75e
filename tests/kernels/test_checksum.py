"""The checksum is zlib's, by the kernel and without it."""

from __future__ import annotations

import random
import zlib

import pytest

from tiednmt.kernels import checksum

SIZES = (0, 1, 15, 16, 63, 64, 65, 79, 80, 127, 128, 129, 143, 1000, 4096, 100_003)


@pytest.fixture(params=["compiled", "zlib"], autouse=True)
def way(request, monkeypatch):
    if request.param == "zlib":
        monkeypatch.setattr(checksum, "_kernels", None)
    elif checksum._kernels is None:
        pytest.skip("the kernel is not compiled, or for another CPU")


def test_of_known_bytes():
    assert checksum.crc32(memoryview(b"123456789")) == 0xCBF43926  # the check value of CRC-32
    assert checksum.crc32(memoryview(bytes(4096))) == zlib.crc32(bytes(4096))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("start", [0, 1, 7])
def test_of_any_bytes_wherever_they_lie(size, start):
    chance = random.Random(size)
    data = memoryview(chance.randbytes(start + size))[start:]
    before = chance.getrandbits(32)
    assert checksum.crc32(data) == zlib.crc32(data)
    assert checksum.crc32(data, before) == zlib.crc32(data, before)


def test_parts_go_on_from_each_other():
    data = memoryview(random.Random(1).randbytes(1000))
    assert checksum.crc32(data[300:], checksum.crc32(data[:300])) == zlib.crc32(data)


def test_every_single_bit_counts():
    data = bytearray(random.Random(2).randbytes(160))
    right = checksum.crc32(memoryview(bytes(data)))
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        assert checksum.crc32(memoryview(bytes(data))) != right
        data[bit // 8] ^= 1 << bit % 8

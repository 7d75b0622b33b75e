"""Files of ``torch.save``: are they whole, bit for bit?

They are zip archives, which hold the CRC-32 of each member. torch writes it but does not check it
when reading: a checkpoint with a flipped bit loads, with other weights.
"""

from __future__ import annotations

import mmap
import os
import struct
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tiednmt.errors import CheckpointError
from tiednmt.kernels.checksum import crc32

_START = b"PK\x03\x04"
_HEADER = struct.Struct("<4s5H3I2H")  # before the name and the data of a member
_TRAILERS = (struct.Struct("<4s3I"), struct.Struct("<4sI2Q"))  # after the data, if flagged
_HAS_TRAILER = 0x08
_PADDING, _FILLER = b"FB", b"Z"  # torch's, which puts data at multiples of 64
_LATER = {0, 0xFFFFFFFF}  # a number that stands in the trailer, or in a field for large ones


@contextmanager
def checked_meanwhile(path: str | os.PathLike[str]) -> Iterator[None]:
    """Check a file of torch's while the block reads it, which takes hardly more time.

    Files of torch before 1.6 are not archives and hold no checksums.

    Raises:
        CheckpointError: the file is damaged, whatever the block made of it.
    """
    with ThreadPoolExecutor(1) as pool:
        damage = pool.submit(damage_of, path)
        try:
            yield
        finally:
            where = damage.result()
            if where is not None:
                raise CheckpointError(
                    f"{path}: not a whole checkpoint, damaged ({where}); copy it again or use "
                    "another one of its folder"
                )


def damage_of(path: str | os.PathLike[str]) -> str | None:
    """Where a file of torch's is damaged; None if it is not, or is not an archive."""
    try:
        with (
            open(path, "rb") as file,
            zipfile.ZipFile(file) as archive,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return _damage(archive, content)
    except (OSError, NotImplementedError):
        return None  # the reader will report it
    except zipfile.BadZipFile:
        with open(path, "rb") as file:
            return "its directory" if file.read(len(_START)) == _START else None


def _damage(archive: zipfile.ZipFile, content: mmap.mmap) -> str | None:
    if content[: len(_START)] != _START:
        return "its beginning"
    end = 0
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    if len(set(map(_said_of_all, members))) > 1:
        return "its directory"
    with memoryview(content) as view:
        for member in members:
            data_at = _data_of(member, view) if member.header_offset == end else None
            if data_at is None:
                return f"what stands before {member.filename}"
            end = data_at + member.compress_size
            stored = member.compress_type == zipfile.ZIP_STORED
            if not stored or crc32(view[data_at:end]) != member.CRC:
                return f"the checksum of {member.filename}"
            if member.flag_bits & _HAS_TRAILER:
                trailer = next(
                    (t for t in _trailers(member) if view[end : end + len(t)] == t), None
                )
                if trailer is None:
                    return f"what stands after {member.filename}"
                end += len(trailer)
    return None if end == archive.start_dir else "what stands after its members"


def _said_of_all(member: zipfile.ZipInfo) -> tuple[object, ...]:
    """What torch writes into the entry of every member."""
    versions = (member.create_system, member.create_version, member.reserved)
    attributes = (member.volume, member.internal_attr, member.external_attr)
    return (*versions, *attributes, member.date_time, member.comment)


def _trailers(member: zipfile.ZipInfo) -> Iterator[bytes]:
    """What may stand after its data."""
    sizes = (member.CRC, member.compress_size, member.file_size)
    for trailer in _TRAILERS[max(sizes) >= 2**32 :]:
        yield trailer.pack(b"PK\x07\x08", *sizes)


def _data_of(member: zipfile.ZipInfo, content: memoryview) -> int | None:
    """Where the data begins; None if the header disagrees with the directory of the archive."""
    name_at = member.header_offset + _HEADER.size
    if name_at > len(content):
        return None
    magic, version, flags, method, time, date, *numbers, name_size, extra_size = (
        _HEADER.unpack_from(content, member.header_offset)
    )
    day = (1980 + (date >> 9), (date >> 5) & 15, date & 31)
    when = (*day, time >> 11, (time >> 5) & 63, 2 * (time & 31))
    extra_at = name_at + name_size
    name, extra = bytes(content[name_at:extra_at]), bytes(content[extra_at : extra_at + extra_size])
    known = (member.CRC, member.compress_size, member.file_size)
    is_as_written = (
        magic == _START
        and (flags, method) == (member.flag_bits, member.compress_type)
        and (version, when) == (member.extract_version, member.date_time)
        and name.decode("utf-8", "replace") == member.orig_filename
        and all(a == b or a in _LATER for a, b in zip(numbers, known, strict=True))
        and (len(extra) <= 4 or extra.startswith(_PADDING) == (not extra[4:].strip(_FILLER)))
    )
    return extra_at + extra_size if is_as_written else None

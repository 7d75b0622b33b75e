r"""Text files: read strictly, written whole or not at all.

A line ends at ``\n`` and nowhere else: U+2028, U+0085, form feeds and the like are characters of
the text, so line numbers of two languages cannot drift apart.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TextIO, cast

from tiednmt.errors import UserError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONGEST_LINE = 4 << 20  # bytes; a line is held in memory, in several forms


def find_file(folder: Path, *names: str) -> Path:
    """The first of these files that is in ``folder``.

    Raises:
        UserError: where none is.
    """
    for name in names:
        if (folder / name).exists():
            return folder / name
    others = "".join(f", nor {name}" for name in names[1:])
    raise UserError(f"{folder / names[0]}: no such file{others}; put one of them there")


def read_lines(path: Path, member: str | None = None) -> Iterator[str]:
    r"""Lines of a UTF-8 file, without their ends; which files, :func:`open_bytes` says.

    A byte order mark is removed, ``\r\n`` ends a line like ``\n``, and a last line need not be
    ended. Any other carriage return becomes a space, because most readers would end a line there.

    Raises:
        UserError: where the file is missing, ends early, is not UTF-8, holds NUL or a line of more
            than ``LONGEST_LINE`` bytes.
    """
    place = f"{path}, {member}" if member else str(path)
    with open_bytes(path, member) as file:
        lines = iter(lambda: file.readline(LONGEST_LINE + 1), b"")
        for number, raw in enumerate(lines, start=1):
            if len(raw) > LONGEST_LINE:
                raise UserError(
                    f"{place}, line {number}: longer than {LONGEST_LINE >> 20} MB; divide it, for "
                    "example with fold -s -w 10000"
                )
            if number == 1:
                raw = raw.removeprefix(BYTE_ORDER_MARK)
            yield decode(raw, f"{place}, line {number}").rstrip("\r\n").replace("\r", " ")


@contextmanager
def open_bytes(path: Path, member: str | None = None) -> Iterator[IO[bytes]]:
    """The bytes of a file, plain, ``.gz`` or ``member`` of an archive, without unpacking it.

    Archives are ``.zip``, ``.tar``, ``.tar.gz`` and ``.tgz``; a member may be ``.gz`` itself.

    Raises:
        UserError: where the file is missing, or damaged as an archive.
    """
    try:
        with ExitStack() as opened:
            if member is None:
                file = opened.enter_context(_unzipped(path))
            else:
                file = (_zip_member if path.suffix == ".zip" else _tar_member)(path, member, opened)
                if member.endswith(".gz"):
                    file = opened.enter_context(_unpacked(file))
            yield file
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.ReadError) as error:
        raise UserError(f"{path}: damaged or cut short ({error}); get the file again") from None


def _unzipped(path: Path) -> IO[bytes]:
    return _unpacked(path) if path.suffix in (".gz", ".tgz") else open(path, "rb")


def _unpacked(file: Path | IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(file))


def _zip_member(path: Path, member: str, opened: ExitStack) -> IO[bytes]:
    archive = opened.enter_context(zipfile.ZipFile(path))
    if member not in archive.namelist():
        raise _holds_no(path, member)
    return opened.enter_context(archive.open(member))


def _tar_member(path: Path, member: str, opened: ExitStack) -> IO[bytes]:
    file = opened.enter_context(_unzipped(path))
    archive = opened.enter_context(tarfile.TarFile(fileobj=file))
    for entry in archive:
        if entry.name.removeprefix("./") == member:
            content = archive.extractfile(entry)
            if content is not None:
                return opened.enter_context(content)
    raise _holds_no(path, member)


def _holds_no(path: Path, member: str) -> UserError:
    return UserError(f"{path}: holds no {member}; get the right archive")


def decode(raw: bytes, place: str) -> str:
    """``raw`` as UTF-8 text.

    Args:
        raw: the bytes.
        place: names the file and where in it, for the error.

    Raises:
        UserError: where it is not UTF-8 or holds NUL.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{place}: not UTF-8 (byte 0x{raw[error.start]:02x} at byte {error.start + 1});"
            " convert the file, for example with iconv"
        ) from None
    if "\0" in text:
        raise UserError(f"{place}: holds a NUL character; remove it")
    return text


@contextmanager
def named_when_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that is renamed when the block has ended without an error.

    Raises:
        UserError: where the disk is full or the like.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if error.filename is not None:
            raise
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def write_whole(path: Path) -> Iterator[TextIO]:
    """A UTF-8 text file that gets its name when the block has ended without an error."""
    with (
        named_when_whole(path) as partial,
        open(partial, "w", encoding="utf-8", newline="\n") as file,
    ):
        yield file


def write_json(path: Path, content: object) -> None:
    """``content`` as indented JSON, keys in the order given."""
    with write_whole(path) as file:
        json.dump(content, file, ensure_ascii=False, indent=2)
        file.write("\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

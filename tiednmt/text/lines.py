r"""Lines of text files, read strictly.

A line ends at ``\n`` and nowhere else. U+2028, U+0085, form feeds and the like are characters of
the text, so the line numbers of two languages cannot drift apart.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from tiednmt.errors import UserError
from tiednmt.packages import optional_modules

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
STDIN = Path("/dev/stdin")
_NUL, _HALF = "a NUL character", re.compile("[\ud800-\udfff]")
LONGEST_LINE = 4 << 20  # bytes; memory holds several forms of a line


def read_lines(path: Path, member: str | None = None) -> Iterator[str]:
    r"""Lines of a UTF-8 file, without line ends; :func:`open_bytes` says which files it reads.

    A byte order mark is removed, ``\r\n`` ends a line like ``\n``, and the last line may lack its
    end. Any other carriage return becomes a space, because most readers would end a line there.

    Raises:
        UserError: the file is missing, is cut short, is not UTF-8, or has a NUL character or a line
            of more than ``LONGEST_LINE`` bytes.
    """
    place = f"{path}, {member}" if member else str(path)
    with open_bytes(path, member) as file:
        lines = iter(lambda: file.readline(LONGEST_LINE + 1), b"")
        for number, raw in enumerate(lines, start=1):
            if len(raw) > LONGEST_LINE:
                raise UserError(
                    f"{place}, line {number}: longer than {LONGEST_LINE >> 20} MB; split it, for "
                    "example with fold -s -w 10000"
                )
            if number == 1:
                if raw.startswith(UTF_16_MARKS):
                    raise UserError(
                        f"{place}, line 1: not UTF-8 but UTF-16; convert it with iconv -f UTF-16"
                    )
                raw = raw.removeprefix(BYTE_ORDER_MARK)
            yield decode(raw, f"{place}, line {number}").rstrip("\r\n").replace("\r", " ")


def read_units(path: Path) -> list[str]:
    """The units of a file, one per line; empty lines at the end are none.

    Raises:
        UserError: as :func:`read_lines`.
    """
    units = list(read_lines(path))
    while units and not units[-1]:
        units.pop()
    return units


def decode(raw: bytes, place: str) -> str:
    """Decode UTF-8 text.

    Args:
        raw: the bytes.
        place: the file and the place in it, for the error message.

    Raises:
        UserError: the bytes are not UTF-8, or there is a NUL character.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{place}: not UTF-8 (byte 0x{raw[error.start]:02x} at byte {error.start + 1});"
            " convert the file, for example with iconv"
        ) from None
    if "\0" in text:
        raise UserError(f"{place}: holds {_NUL}; remove it")
    return text


def text_fault(text: str) -> str | None:
    """The characters that make a line no text; None if there are none."""
    if "\0" in text:
        return _NUL
    return "half a surrogate pair, which is no character" if _HALF.search(text) else None


@contextmanager
def open_bytes(path: Path, member: str | None = None) -> Iterator[IO[bytes]]:
    """Open a file, or a ``member`` of an archive without unpacking the archive, for reading bytes.

    Files compressed with gzip, xz, bzip2 or Zstandard are decompressed, whatever their names.
    Archives may be zip or tar, compressed or not. A member may itself be compressed.

    Raises:
        UserError: the file is missing or damaged, or a package for Zstandard is not installed.
    """
    try:
        with ExitStack() as opened:
            file: IO[bytes] = opened.enter_context(_open(path))
            if member is not None:
                zipped = _start(file).startswith(b"PK\x03\x04")
                file = (_zip_member if zipped else _tar_member)(path, file, member, opened)
            yield _decompressed(path, file, opened)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    except OSError as error:
        if error.errno is not None:  # without: bz2's, which has no error class of its own
            raise
        raise _damaged(path, error) from None


def _open(path: Path) -> IO[bytes]:
    if path == STDIN:  # a socket cannot be opened by its path
        return open(0, "rb", closefd=False)
    return open(path, "rb")


_DAMAGE = (
    EOFError,
    zlib.error,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: damaged or cut short ({error}); get the file again")


def _start(file: Any) -> bytes:
    """The first bytes of a buffered file, without advancing in it."""
    return bytes(file.peek(16)[:16])


def _decompressed(path: Path, file: IO[bytes], opened: ExitStack) -> IO[bytes]:
    start = _start(file)
    for beginning, decompress in _DECOMPRESSORS:
        if beginning.match(start):
            return opened.enter_context(decompress(path, file))
    return file


def _unzstd(path: Path, file: IO[bytes]) -> IO[bytes]:
    (zstandard,) = optional_modules(f"{path}, compressed with Zstandard", "zstandard")
    return cast(IO[bytes], io.BufferedReader(_ZstdFrames(file, zstandard)))


class _ZstdFrames(io.RawIOBase):
    """The content of Zstandard's frames; unlike the package's reader, it detects a cut file."""

    INPUT_BYTES = 1024  # decompressed at a time, into at most 32 MB

    def __init__(self, file: IO[bytes], zstandard: Any):
        self._file = file
        self._zstandard = zstandard
        self._frame: Any = None
        self._input = b""
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._output:
            if not self._input:
                self._input = self._file.read(self.INPUT_BYTES)
            if not self._input:
                if self._frame is not None:
                    raise EOFError("it ended within a frame")
                return 0
            self._decompress()
        taken = min(len(buffer), len(self._output))
        buffer[:taken] = self._output[:taken]
        self._output = self._output[taken:]
        return taken

    def _decompress(self) -> None:
        if self._frame is None:
            self._frame = self._zstandard.ZstdDecompressor().decompressobj()
        try:
            self._output = memoryview(self._frame.decompress(self._input))
        except self._zstandard.ZstdError as error:
            raise zlib.error(str(error)) from None
        self._input = b""
        if self._frame.eof:
            self._input = self._frame.unused_data
            self._frame = None


# how a compressed file begins, and its decompressor; bzip2's second alternative is an empty file
_DECOMPRESSORS: list[tuple[re.Pattern[bytes], Callable[[Path, IO[bytes]], Any]]] = [
    (re.compile(rb"\x1f\x8b\x08"), lambda _, file: gzip.GzipFile(fileobj=file)),
    (re.compile(rb"\xfd7zXZ\0"), lambda _, file: lzma.LZMAFile(file)),  # noqa: SIM115
    (re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), lambda _, file: bz2.BZ2File(file)),
    (re.compile(rb"\x28\xb5\x2f\xfd"), _unzstd),
]


def _zip_member(path: Path, file: IO[bytes], member: str, opened: ExitStack) -> IO[bytes]:
    archive = opened.enter_context(zipfile.ZipFile(file))
    if member not in archive.namelist():
        raise _holds_no(path, member)
    try:
        return opened.enter_context(archive.open(member))
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown method
        raise UserError(f"{path}, {member}: cannot be read ({error}); get the file again") from None


def _tar_member(path: Path, file: IO[bytes], member: str, opened: ExitStack) -> IO[bytes]:
    content_of_archive = _decompressed(path, file, opened)  # which may not know how to go back
    archive = opened.enter_context(
        tarfile.open(fileobj=content_of_archive, mode="r|")  # noqa: SIM115
    )
    for entry in archive:
        if entry.name.removeprefix("./") == member:
            content = archive.extractfile(entry)
            if content is not None:
                return opened.enter_context(content)
    raise _holds_no(path, member)


def _holds_no(path: Path, member: str) -> UserError:
    return UserError(f"{path}: holds no {member}; get the right archive")

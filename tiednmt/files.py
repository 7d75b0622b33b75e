"""Files written whole or not at all, hashed, and what they may be called. Standard library only."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from tiednmt.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # faults that reading cannot have


@contextmanager
def named_when_whole(path: Path) -> Iterator[Path]:
    """A temporary name that is renamed to ``path`` when the block has ended without an error.

    A link is followed. A pipe, a device or the like (``/dev/stdout``) is not replaced: it is
    written to when the block has ended. The temporary name is the same each time, so that what a
    killed process left is replaced.

    Raises:
        UserError: ``path`` is a folder, another process is writing it, the disk is full or the
            like.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder; give the name of a file")
    if (stream := _stream_at(path)) is not None:
        with tempfile.TemporaryDirectory() as folder:
            partial = Path(folder) / (path.name + ".partial")
            yield partial
            _copy_to(partial, path, stream)
        return
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    partial = target.with_name(target.name + ".partial")
    with _named(path, partial):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(partial)
    if lock is None:
        raise UserError(f"{path}: another process is writing it; wait for its end")
    with lock:
        try:
            with _named(path, partial):
                yield partial
                os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def _named(path: Path, partial: Path) -> Iterator[None]:
    """Let an error of the system that names no other file than ``partial`` name ``path``."""
    try:
        yield
    except OSError as error:
        if error.filename not in (None, str(partial)):
            raise
        raise _not_written(path, error) from error


def _locked(partial: Path) -> AbstractContextManager[object] | None:
    """Makes ``partial`` nobody else's until its end; None if somebody else has it.

    Nobody is kept out where the platform or the file system has no such locks.
    """
    if fcntl is None:  # where, moreover, an open file cannot be renamed
        return nullcontext()
    while True:
        file = open(partial, "ab")  # noqa: SIM115, closed by the caller
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError:
            return file
        if _has_name(file, partial):
            return file
        file.close()  # another process renamed it before the lock was this one's


def _has_name(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _stream_at(path: Path) -> int | str | None:
    """What is written to instead of being replaced; None if ``path`` is an ordinary file.

    That is an open file of this process, by its number, or a pipe, a device or the like.
    """
    names = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
    if (number := names.get(str(path))) is not None:
        return number
    if str(path.parent) in ("/dev/fd", "/proc/self/fd") and path.name.isdecimal():
        return int(path.name)
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    return None if stat.S_ISREG(mode) else str(path)


def _copy_to(partial: Path, path: Path, stream: int | str) -> None:
    """Write to a device or pipe, or to an open file, after what was printed there."""
    for printed in filter(None, (sys.stdout, sys.stderr)):
        printed.flush()
    try:
        with (
            open(partial, "rb") as content,
            open(os.dup(stream) if isinstance(stream, int) else stream, "wb") as output,
        ):
            shutil.copyfileobj(content, output)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def folder_when_whole(folder: Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that is renamed when the block has ended without error.

    A link to an empty folder is followed.

    Raises:
        UserError: something of that name exists (other than an empty folder), it is the current
            folder, or the disk is full.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder}: exists; give the name of a new folder")
    target = Path(os.path.realpath(folder))
    if target == Path.cwd():
        raise UserError(f"{folder}: the current folder; give the name of a new one")
    beginning = f".{target.name}."
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=beginning, dir=target.parent) as beside:
            partial = Path(beside) / target.name  # with the permissions of any other folder
            partial.mkdir()
            yield partial
            os.replace(partial, target)
    except OSError as error:
        if not _is_of(error, target, beginning):  # but of a file that was to be read
            raise
        raise _not_written(folder, error) from error


def _not_written(path: Path, error: OSError) -> UserError:
    """What to say of an error within a block that writes ``path`` and may read other files."""
    may_be_of_another = error.filename is None and error.errno not in _OF_WRITING
    or_read = ", or a file for it cannot be read" if may_be_of_another else ""
    return UserError(f"{path}: cannot be written{or_read}: {error.strerror}")


def _is_of(error: OSError, folder: Path, beginning: str) -> bool:
    """Whether an error is about ``folder``, one above it, or a file written beside it."""
    if error.filename is None:
        return True
    path = os.fspath(error.filename)
    is_above = Path(path) in (folder, *folder.parents)
    return is_above or path.startswith(str(folder.parent / beginning))


def refuse_to_replace(output: Path, *read: Path) -> None:
    """Refuse to write over a file that is read.

    Raises:
        UserError: ``output`` is one of them.
    """
    if any(output.exists() and path.exists() and output.samefile(path) for path in read):
        raise UserError(f"--output {output}: is read; give another name")


def refuse_what_fairseq_cuts(folder: Path, way_out: str, signs: str = os.pathsep) -> None:
    """Refuse a folder for fairseq whose path has one of ``signs``, which it joins paths with.

    Raises:
        UserError: it has; ``way_out`` comes last.
    """
    for sign in signs:
        if sign in str(folder):
            raise UserError(f"{folder}: fairseq takes no {sign!r} in a path; {way_out}")


def refuse_what_is_no_file(path: Path, lead: str = "") -> None:
    """Refuse a name that no file has which can be read several times.

    Raises:
        UserError: it is missing, a folder or a pipe; ``lead`` comes first.
    """
    if path.is_file():
        return
    if path.is_dir():
        what = "a folder"
    elif path.exists():
        what = "can be read only once; write it to a file first"
    else:
        what = "no such file"
    raise UserError(f"{lead}{path}: {what}")


@contextmanager
def write_whole(path: Path) -> Iterator[TextIO]:
    """A UTF-8 text file that gets its name when the block has ended without an error."""
    with (
        named_when_whole(path) as partial,
        open(partial, "w", encoding="utf-8", newline="\n") as file,
    ):
        yield file


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON, keys in the order given.

    Raises:
        UserError: it holds what JSON cannot express, such as a number that is not finite.
    """
    try:
        text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False)
        text.encode("utf-8")
    except ValueError as error:
        raise UserError(f"{path}: not written, since it is not JSON: {error}") from error
    with write_whole(path) as file:
        file.write(text + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: there is no such file, or it is not JSON.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON, cut short or damaged ({error})") from error


def file_name(name: str) -> str:
    """The name, with a hyphen for characters that do not belong into the name of a file."""
    return re.sub(r"[^\w.+-]+", "-", name)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

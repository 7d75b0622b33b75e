"""Files written whole or not at all, and hashed. Standard library only."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tiednmt.errors import UserError


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
def folder_when_whole(folder: Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that is renamed when the block has ended without error.

    Raises:
        UserError: there is something of that name (but an empty folder), or the disk is full.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder}: exists; give the name of a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
            partial = Path(beside) / folder.name  # with the permissions of any other folder
            partial.mkdir()
            yield partial
            os.replace(partial, folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from error


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

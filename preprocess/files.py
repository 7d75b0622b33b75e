"""Files: found, written whole or not at all, hashed. How they are read, tiednmt.text.lines says."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tiednmt.errors import UserError


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

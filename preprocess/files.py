"""Raw files, found by their names. How files are read, tiednmt.text.lines says."""

from __future__ import annotations

from pathlib import Path

from tiednmt.errors import UserError


def named_file(folder: Path, *names: str) -> Path:
    """The first of these files that is in ``folder``; where none is, the first."""
    return next((folder / name for name in names if (folder / name).exists()), folder / names[0])


def find_file(folder: Path, *names: str) -> Path:
    """The first of these files that is in ``folder``.

    Raises:
        UserError: none is.
    """
    if (path := named_file(folder, *names)).exists():
        return path
    others = "".join(f", nor {name}" for name in names[1:])
    raise UserError(f"{folder / names[0]}: no such file{others}; put one of them there")

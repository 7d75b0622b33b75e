"""Raw files, found by their names. How files are read, tiednmt.text.lines says."""

from __future__ import annotations

from pathlib import Path

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

"""Raw files, found by their names, and how many may be open. tiednmt.text.lines reads them."""

from __future__ import annotations

import resource
from pathlib import Path

from tiednmt.errors import UserError

_OTHER_FILES = 64  # libraries, locks, logs


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


def may_open(count: int, way_out: str) -> None:
    """Let this process have ``count`` files open at a time, besides those that it needs anyway.

    Raises:
        UserError: the system does not allow it; this ends with the ``way_out``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        raise UserError(
            f"{count:,} files have to be open at a time, more than the system allows; {way_out}"
        ) from None

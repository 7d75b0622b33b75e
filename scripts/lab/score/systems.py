"""What systems are called, on command lines and in the names of files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tiednmt.errors import UserError


def parse_system(text: str) -> tuple[str, list[Path]]:
    """``[NAME=]CHECKPOINT[:CHECKPOINT…]`` → name and paths.

    The name is by default that of the first checkpoint with its folder: ``none/checkpoint_best``.
    """
    name, equals, paths = text.partition("=")
    if not equals or "/" in name:
        name, paths = "", text
    checkpoints = [Path(path) for path in paths.split(":")]
    first = checkpoints[0].absolute()
    return name or f"{first.parent.name}/{first.stem}", checkpoints


def parse_systems(texts: Sequence[str]) -> dict[str, list[Path]]:
    """Name → paths of several systems; see :func:`parse_system`.

    Raises:
        UserError: two have one name, or names that give one name of a file.
    """
    systems: dict[str, list[Path]] = {}
    files: set[str] = set()
    for name, paths in map(parse_system, texts):
        file = file_name(name)
        if file in files:
            raise UserError(
                f"two systems are called {file}; write NAME=CHECKPOINT to tell them apart"
            )
        files.add(file)
        systems[name] = paths
    return systems


def file_name(name: str) -> str:
    """A system's name without what the name of a file should not hold."""
    return re.sub(r"[^\w.+-]+", "-", name)

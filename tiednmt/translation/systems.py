"""What systems are called, on command lines and in the names of files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tiednmt.errors import UserError
from tiednmt.files import file_name

_LONGEST_NAME = 150  # bytes; file systems take 255 with what is added

Run = list[Path]  # a checkpoint, or those of an ensemble


def parse_system(text: str) -> tuple[str, Run]:
    """``[NAME=]CHECKPOINT[:CHECKPOINT…]`` → name and paths.

    The name is by default that of the first checkpoint with its folder: ``none/checkpoint_best``.
    """
    name, paths = _named(text)
    return name, _run(paths)


def parse_systems(texts: Sequence[str]) -> dict[str, list[Run]]:
    """Name → runs of several systems: as :func:`parse_system`, further runs after commas.

    Raises:
        UserError: two have one name, or names that give one name of a file.
    """
    systems: dict[str, list[Run]] = {}
    names: list[str] = []
    for name, paths in map(_named, texts):
        systems[name] = [_run(path) for path in _split(paths, ",")]
        names += [run_name(name, i) for i in range(len(systems[name]))]
    require_file_names(names)
    return systems


def require_file_names(names: Iterable[str]) -> None:
    """Refuse names of systems that cannot be told apart in the names of files.

    Raises:
        UserError: two give one name of a file, or one gives none that a file system takes.
    """
    files: set[str] = set()
    for name in names:
        if not name.isprintable():
            raise UserError(f"{name}: a system's name has no control characters")
        file = file_name(name)
        if len(file.encode()) > _LONGEST_NAME:
            raise UserError(f"{name[:40]}…: too long for the name of a file; write NAME=…")
        if file in files:
            raise UserError(
                f"two systems are called {file}; write NAME=CHECKPOINT to tell them apart"
            )
        files.add(file)


def run_name(name: str, i: int) -> str:
    """What the run at ``i`` of a system is called: ``none``, ``none-2``, ``none-3``."""
    return name if i == 0 else f"{name}-{i + 1}"


def _named(text: str) -> tuple[str, str]:
    """The name and what follows it."""
    name, equals, paths = text.partition("=")
    if equals and "/" not in name and not os.path.exists(text):
        return name, paths
    first = _run(_split(text, ",")[0])[0].absolute()
    return f"{first.parent.name}/{first.stem}", text


def _run(text: str) -> Run:
    return [Path(path) for path in _split(text, ":")]


def _split(text: str, separator: str) -> list[str]:
    """The parts of ``text``; one where it is the name of a file, as hydra's sweeps name folders."""
    return [text] if os.path.exists(text) else text.split(separator)

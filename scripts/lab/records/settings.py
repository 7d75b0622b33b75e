"""The options of ``fairseq-train`` that the rows share, and those that set them apart."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

Options = dict[str, str]
OUTPUT = "--save-dir"


@dataclass(frozen=True)
class Settings:
    """``common`` holds for all rows; ``apart`` has a value a row, None where it is not given."""

    common: Options
    apart: Mapping[str, tuple[str | None, ...]]


def compare(commands: list[str]) -> Settings:
    """The options of each row's command line, side by side; where it writes is none of them."""
    rows = [options(command) for command in commands]
    names = list(dict.fromkeys(name for row in rows for name in row if name != OUTPUT))
    values = {name: tuple(row.get(name) for row in rows) for name in names}
    common = {name: row[0] for name, row in values.items() if len(set(row)) == 1}
    return Settings(
        common={name: value for name, value in common.items() if value is not None},
        apart={name: row for name, row in values.items() if name not in common},
    )


def options(command: str) -> Options:
    """Option → its value, empty for a flag, of a command line's words after the positional ones."""
    found: Options = {}
    name = None
    for word in shlex.split(command):
        if word.startswith("--"):
            name = word
            found[name] = ""
        elif name is not None:
            found[name] = f"{found[name]} {word}".strip()
    return found


def is_training(command: str) -> bool:
    """Whether it is a command line that says where the training writes."""
    try:
        return bool(options(command).get(OUTPUT))
    except ValueError:  # quotes that do not end
        return False


def folder_name(command: str) -> str:
    """The name of the folder that a training wrote to."""
    return PurePath(options(command)[OUTPUT]).name

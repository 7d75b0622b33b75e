"""Files of counts: a word or a unit per line, and how often a text has it, after a space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tiednmt.errors import UserError
from tiednmt.files import write_whole
from tiednmt.text.lines import read_lines

Count = tuple[str, int]


def read_counts(path: Path) -> Iterator[Count]:
    """Word or unit and count, line by line; empty lines are skipped.

    Raises:
        UserError: a line has no count, or :func:`~tiednmt.text.lines.read_lines` cannot read it.
    """
    for number, line in enumerate(read_lines(path), start=1):
        counted, _, count = line.rpartition(" ")
        if counted and count.isdecimal():
            yield counted, int(count)
        elif line:
            raise UserError(
                f"{path}, line {number}: damaged (no unit with its count); copy the file again or "
                "prepare the corpus again"
            )


def write_counts(path: Path, counts: Iterable[Count]) -> None:
    """Write counts in their order, whole or not at all."""
    with write_whole(path) as file:
        file.writelines(f"{counted} {count}\n" for counted, count in counts)


def ranked(counts: Mapping[str, int]) -> list[Count]:
    """Counts in the order of a vocabulary: the most frequent first, equal ones by their names."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

"""The file of what is measured in training: a line of JSON per measured update."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tiednmt.errors import UserError
from tiednmt.files import named_when_whole

# what reading a damaged line may raise
_OF_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)


class Measurements:
    """What a run measures, added to a file that an earlier run may have begun.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._has_begun = False

    def begin(self, update: int) -> None:
        """Begin to measure at ``update``, on the first call only.

        What an earlier run measured from there on is removed. It may be of another model, in whose
        place this one is trained, or lie beyond the checkpoint that training resumes from. Where
        the earlier run was killed, half a line may be the last.
        """
        if self._has_begun:
            return
        self._has_begun = True
        if not self.path.is_file():
            return
        lines = self.path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith(b"\n") and not _is_from(line, update)]
        if kept != lines:
            with named_when_whole(self.path) as partial:
                partial.write_bytes(b"".join(kept))

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line with ``update`` and what was measured of it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _is_from(line: bytes, update: int) -> bool:
    """Whether a line measured ``update`` or a later one; not if it is damaged."""
    try:
        return bool(json.loads(line)["update"] >= update)
    except _OF_DAMAGE:
        return False


def read_measurements(
    path: Path, shape_of: Callable[[dict[str, Any]], Any]
) -> list[dict[str, Any]]:
    """The measured updates, in order; none if nothing was measured.

    If an update was measured twice, because training resumed from an earlier checkpoint, the later
    line counts.

    Args:
        path: the file.
        shape_of: what a line measures, which must be the same in the whole file; raises a
            ValueError, KeyError or the like if the line is damaged.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return []
    records: dict[int, dict[str, Any]] = {}
    shape = None
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            record = json.loads(line)
            update, measured = record["update"], shape_of(record)
            if type(update) is not int or update < 0:
                raise ValueError
        except _OF_DAMAGE:
            measured = None
        if measured is None or shape not in (None, measured):
            raise UserError(f"{path}, line {number}: damaged; remove the line")
        shape, records[update] = measured, record
    return [records[update] for update in sorted(records)]

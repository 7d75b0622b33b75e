"""Files that an earlier call left in the folder of an experiment, read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tiednmt.errors import UserError

T = TypeVar("T")


def is_current(path: Path, *made_from: Path) -> bool:
    """Whether a kept file is there and no older than those of ``made_from`` that exist."""
    if not path.exists():
        return False
    times = (source.stat().st_mtime for source in made_from if source.exists())
    return path.stat().st_mtime >= max(times, default=0.0)


def read_kept(
    path: Path,
    use: Callable[[Any], T],
    remove: Path | None = None,
    then: str = "the same command makes it again",
) -> T:
    """Read a JSON file and return ``use`` of its content.

    Args:
        path: of the file.
        use: raises a KeyError, TypeError or the like if the content is not what it needs.
        remove: what to remove if the file is damaged; the file by default.
        then: what happens if that is removed.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return use(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: damaged ({error!r:.100}); remove {remove or 'it'}, and {then}"
        ) from error

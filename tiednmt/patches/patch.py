"""Change what a function of another package does, once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

_CHANGES = "_tiednmt_changes"  # of a function: the names of the changes that it has


def patch(owner: Any, name: str, change: Callable[..., Any]) -> None:
    """Replace a function or method by ``change``; a second call with the same change does nothing.

    Args:
        owner: the module or class that has the function.
        name: the name of the function there.
        change: is called with the original function, and then its arguments.
    """
    before = getattr(owner, name)
    changes: frozenset[str] = getattr(before, _CHANGES, frozenset())
    this = f"{change.__module__}.{change.__qualname__}"
    if this in changes:
        return

    @functools.wraps(before)
    def changed(*args: Any, **kwargs: Any) -> Any:
        return change(before, *args, **kwargs)

    setattr(changed, _CHANGES, changes | {this})
    is_static = isinstance(inspect.getattr_static(owner, name), staticmethod)
    setattr(owner, name, staticmethod(changed) if is_static else changed)

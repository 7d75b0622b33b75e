"""Change what a function of another package does, once."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import fairseq_cli

_CHANGES = "_tiednmt_changes"  # of a function: the names of the changes that it has


def patch(owner: Any, name: str, change: Callable[..., Any]) -> None:
    """Replace a function or method by ``change``; a second call with the same change does nothing.

    Args:
        owner: the module or class that has the function.
        name: the name of the function there.
        change: is called with the original function, and then its arguments.
    """
    _patch(owner, name, change)
    running = sys.modules["__main__"]
    if isinstance(owner, ModuleType) and owner is not running and owner.__name__ == _name(running):
        _patch(running, name, change)


def command_of(main: Callable[..., Any]) -> str | None:
    """The module of a command's function, by its own name if Python runs it as ``__main__``."""
    module = sys.modules.get(main.__module__)  # None of a function of C
    return None if module is None else _name(module)


def _name(module: ModuleType) -> str:
    path = Path(getattr(module, "__file__", None) or "")
    if module.__name__ == "__main__" and path.resolve().parent == _COMMANDS:
        return f"{fairseq_cli.__name__}.{path.stem}"
    return module.__name__


_COMMANDS = Path(fairseq_cli.__file__).resolve().parent


def _patch(owner: Any, name: str, change: Callable[..., Any]) -> None:
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

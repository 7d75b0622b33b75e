"""Packages that may be missing, and versions of what figures were made with.

Standard library only.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

from tiednmt.errors import UserError

PACKAGES = ("tiednmt", "torch", "fairseq-fixed", "numpy")
_CALLED = {"umap": "umap-learn"}  # packages that are called otherwise than their module


def optional_modules(wanted_by: str, *names: str) -> list[Any]:
    """Modules that only some uses need.

    Args:
        wanted_by: what needs them, such as an option; the message begins with it.
        names: to import.

    Raises:
        UserError: some are not installed; says how to install them.
    """
    modules, missing = [], []
    for name in names:
        try:
            modules.append(import_module(name))
        except ImportError:
            top = name.partition(".")[0]
            missing.append(_CALLED.get(top, top))
    if missing := [*dict.fromkeys(missing)]:
        raise UserError(
            f"{wanted_by}: {', '.join(missing)} not installed; pip install {' '.join(missing)}"
        )
    return modules


def package_versions(*more: str) -> dict[str, str]:
    """Versions of the packages that the figures depend on: ``PACKAGES`` and ``more``."""
    return {name: version(name) for name in (*PACKAGES, *more)}

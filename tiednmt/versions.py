"""Versions of what figures were made with. Standard library only."""

from __future__ import annotations

from importlib.metadata import version

PACKAGES = ("tiednmt", "torch", "fairseq-fixed", "numpy")


def package_versions(*more: str) -> dict[str, str]:
    """Versions of the packages that the figures depend on: ``PACKAGES`` and ``more``."""
    return {name: version(name) for name in (*PACKAGES, *more)}

"""The manifest of a prepared folder, written: what it holds, and all that made it so."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tiednmt.files import write_json
from tiednmt.text.manifest import MANIFEST, any_manifest


def write_manifest(
    folder: Path, content: dict[str, Any], packages: tuple[str, ...], files: dict[str, str]
) -> None:
    """Write ``manifest.json``: ``content``, versions of ``packages``, the hash of every file.

    A file that says the same already keeps its time, which tells later steps that nothing changed.
    """
    manifest = {
        **content,
        "versions": {name: package_version(name) for name in packages},
        "files": dict(sorted(files.items())),
    }
    if any_manifest(folder) != manifest:
        write_json(folder / MANIFEST, manifest)


def package_version(package: str) -> str:
    """The installed version of a package, be it repaired under the name ``<package>-fixed``."""
    for name in (package, f"{package}-fixed"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"

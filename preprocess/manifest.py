"""The manifest of a prepared folder: what it holds, and all that made it so."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from preprocess.files import sha256, write_json
from preprocess.stages import Stages

FORMAT = 1


def write_manifest(stages: Stages, content: dict[str, Any], packages: tuple[str, ...]) -> None:
    """Write ``manifest.json``: ``content``, versions of ``packages``, the hash of every output."""
    write_json(
        stages.folder / "manifest.json",
        {
            "format": FORMAT,
            **content,
            "versions": {name: package_version(name) for name in packages},
            "files": {
                path.relative_to(stages.folder).as_posix(): sha256(path)
                for path in sorted(stages.outputs)
            },
        },
    )


def package_version(package: str) -> str:
    """The installed version of a package, be it repaired under the name ``<package>-fixed``."""
    for name in (package, f"{package}-fixed"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"

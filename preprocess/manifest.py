"""The manifest of a prepared folder: what it holds, and all that made it so."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from preprocess.files import write_json
from tiednmt.errors import UserError

FORMAT = 1


def write_manifest(
    folder: Path, content: dict[str, Any], packages: tuple[str, ...], files: dict[str, str]
) -> None:
    """Write ``manifest.json``: ``content``, versions of ``packages``, the hash of every file."""
    write_json(
        folder / "manifest.json",
        {
            "format": FORMAT,
            **content,
            "versions": {name: package_version(name) for name in packages},
            "files": dict(sorted(files.items())),
        },
    )


def read_manifest(prepared: Path) -> dict[str, Any]:
    """The manifest of a prepared translation corpus.

    Raises:
        UserError: where the folder is not one, or not prepared to the end.
    """
    path = prepared / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        manifest["source"], manifest["target"], manifest["options"]["bpe"]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; prepare the corpus to the end first") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not the manifest of a prepared corpus") from None
    return dict(manifest)


def line_ends(prepared: Path) -> bool:
    """Whether the ends of lines are tokens of a corpus in one language.

    They are where there is no manifest, that is where fairseq's own command prepared it.

    Raises:
        UserError: where the manifest is another corpus'.
    """
    path = prepared / "manifest.json"
    try:
        return bool(json.loads(path.read_text(encoding="utf-8"))["options"]["line_ends"])
    except FileNotFoundError:
        return True
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not the manifest of a corpus in one language") from None


def data_bins(prepared: Path) -> list[Path]:
    """The folders of a prepared corpus for fairseq: ``data-bin``, or ``data-bin/shard0`` and on.

    The first has the dictionaries and the held-out sets.
    """
    parts = takewhile(Path.is_dir, (part_folder(prepared, number) for number in count()))
    return list(parts) or [prepared / "data-bin"]


def part_folder(prepared: Path, number: int) -> Path:
    """The folder of one of several parts of the training text, which fairseq calls shards."""
    return prepared / "data-bin" / f"shard{number}"


def package_version(package: str) -> str:
    """The installed version of a package, be it repaired under the name ``<package>-fixed``."""
    for name in (package, f"{package}-fixed"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"

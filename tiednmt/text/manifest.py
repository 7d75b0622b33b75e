"""Read the manifest of a prepared folder: what the folder holds, and how it was made."""

from __future__ import annotations

import json
import re
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from tiednmt.errors import UserError

_AGAIN = "copy the folder again or prepare the corpus again"
_UNFINISHED = "no such file; prepare the corpus to the end first"
MANIFEST = "manifest.json"
RAW, TOKENISED, SEGMENTED = "raw", "tokenised", "bpe"  # folders of the three forms of the text
SEGMENTATION = "segmentation"  # in model folders; no prepared folder has it
FORMAT = 2


def read_manifest(prepared: Path) -> dict[str, Any]:
    """The manifest of a prepared translation corpus.

    Raises:
        UserError: it is not a prepared folder, or its preparation was not finished.
    """
    path = prepared / MANIFEST
    manifest = any_manifest(prepared)
    if manifest is None and (prepared / SEGMENTATION).is_dir():
        raise UserError(f"{prepared}: a model folder; give the folder that preprocess filled")
    if manifest is None:
        raise UserError(f"{path}: {_UNFINISHED}")
    try:
        manifest["source"], manifest["target"], manifest["options"].get
        version = manifest.get("format", 1)
        if version == 1:
            manifest["options"]["bpe"], manifest["options"]["vocabulary_threshold"]
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: not the manifest of a prepared corpus") from None
    if version not in (1, FORMAT):
        raise UserError(
            f"{path}: format {version}, not {FORMAT}; install the version of tiednmt that wrote it"
        )
    _require_form(path, manifest)
    return {"format": version, **manifest}


# parts that are objects, and the type of their values
_PARTS = {"options": object, "vocabulary": object, "subsets": str, "references": int, "files": str}
_NAME = re.compile(r"[^\W.][\w.+-]*")  # of a language or a subset, as part of a file name
# files that a prepared folder has beside those of its subsets, and parts of the training text
_TAKEN = re.compile(r"vocab|words|codes|sentencepiece|dict|shared-units|train\.\d+")


def subset_fault(name: str) -> str | None:
    """Why a subset of a prepared folder cannot have this name; None if it can."""
    if not _NAME.fullmatch(name):
        return "a NAME has letters, digits and any of _.+-, and begins with a letter, a digit or _"
    if _TAKEN.fullmatch(name):
        return "the prepared folder has files of this name; choose another NAME"
    return None


def _require_form(path: Path, manifest: dict[str, Any]) -> None:
    """Refuse parts of a wrong type, and names that lead out of the folder."""
    for part, kind in _PARTS.items():
        content = manifest.get(part)
        if content is not None and not (
            isinstance(content, dict) and all(isinstance(each, kind) for each in content.values())
        ):
            raise UserError(f"{path}: {part} is {content!r:.60}; {_AGAIN}")
    for name in (manifest["source"], manifest["target"], *(manifest.get("subsets") or ())):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UserError(
                f"{path}: not the name of a language or a subset: {name!r:.60}; {_AGAIN}"
            )
    if not all(0 < number < 1000 for number in (manifest.get("references") or {}).values()):
        raise UserError(f"{path}: references are {manifest['references']!r:.60}; {_AGAIN}")


def line_ends(prepared: Path) -> bool:
    """Whether line ends are tokens of a monolingual corpus.

    Without a manifest they are: then fairseq's own command prepared the corpus.

    Raises:
        UserError: the manifest is that of another kind of corpus.
    """
    return bool(_of_one_language(prepared, "line_ends", True))


def language(prepared: Path) -> str | None:
    """The language whose rules tokenised a monolingual corpus; None if white space did.

    Raises:
        UserError: the manifest is that of another kind of corpus.
    """
    code = _of_one_language(prepared, "language", None)
    return None if code is None else str(code)


def _of_one_language(prepared: Path, option: str, default: Any) -> Any:
    """An option of a monolingual corpus; ``default`` if there is no manifest."""
    manifest = any_manifest(prepared)
    return default if manifest is None else _of_monolingual(prepared, manifest, "options", option)


def vocab_size(prepared: Path) -> int:
    """The size of the dictionary of a prepared monolingual corpus.

    Raises:
        UserError: there is no manifest, or it is that of another kind of corpus.
    """
    manifest = any_manifest(prepared)
    if manifest is None:
        raise UserError(f"{prepared / MANIFEST}: {_UNFINISHED}")
    size: int = _of_monolingual(prepared, manifest, "vocabulary", "dictionary")
    return size


def _of_monolingual(prepared: Path, manifest: dict[str, Any], part: str, name: str) -> Any:
    try:
        return manifest[part][name]
    except (KeyError, TypeError):
        path = prepared / MANIFEST
        raise UserError(f"{path}: not the manifest of a monolingual corpus") from None


def any_manifest(prepared: Path) -> dict[str, Any] | None:
    """The manifest of a folder, whatever the kind of corpus; None if there is none.

    Raises:
        UserError: it is not a JSON object.
    """
    path = prepared / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict):
        raise UserError(f"{path}: not the manifest of a prepared corpus")
    return manifest


def prepared_folder(data: Path) -> Path | None:
    """The prepared folder of which ``data`` is itself, its data-bin, or a part of that; or None."""
    for folder in (data, *data.absolute().parents[:2]):
        if (folder / MANIFEST).is_file() and (folder / SEGMENTED).is_dir():
            return folder
    return None


def data_bins(prepared: Path) -> list[Path]:
    """A prepared corpus's folders for fairseq: ``data-bin``, or ``data-bin/shard0``, ``shard1``, ….

    The first has the dictionaries and the held-out sets.
    """
    parts = takewhile(Path.is_dir, (part_folder(prepared, number) for number in count()))
    return list(parts) or [prepared / "data-bin"]


def reference_file(target: Path, number: int) -> Path:
    """The raw file of a test set's reference with this number; ``target`` is the first."""
    return target if number == 1 else target.with_name(f"{target.name}.{number}")


def words_file(prepared: Path, language: str) -> Path:
    """The counted words of one side of the training text."""
    return prepared / TOKENISED / f"words.{language}"


def part_folder(prepared: Path, number: int) -> Path:
    """The folder of one part of the training text, which fairseq calls a shard."""
    return prepared / "data-bin" / f"shard{number}"

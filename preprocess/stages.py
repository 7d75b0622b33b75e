"""Run a stage once: skipped while its inputs, options and outputs are those on record."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from preprocess.files import write_json


class Stages:
    """The stages of one prepared folder, with a record of each under ``.stages``."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.outputs: list[Path] = []
        self.done_again = False

    def run(
        self,
        name: str,
        action: Callable[[], Any],
        inputs: list[Path],
        outputs: list[Path],
        options: dict[str, Any],
    ) -> Any:
        """What ``action`` returned (it must be JSON), now or when it last ran.

        ``action`` runs where an input, an output or an option is not as recorded. Outputs of an
        earlier run that this one does not have are removed, and so is the manifest until the
        whole has been done again.
        """
        self.outputs += outputs
        path = self.folder / ".stages" / f"{name}.json"
        record = _read(path)
        wanted = {"inputs": _stamps(inputs), "options": options}
        if (
            record is not None
            and all(record[key] == value for key, value in wanted.items())
            and record["outputs"] == _stamps(outputs)
        ):
            print(f"{name}: up to date", file=sys.stderr)
            return record["result"]
        path.unlink(missing_ok=True)
        (self.folder / "manifest.json").unlink(missing_ok=True)
        if record is not None:
            for old in set(record["outputs"]) - {str(output) for output in outputs}:
                Path(old).unlink(missing_ok=True)
        result = action()
        write_json(path, {**wanted, "outputs": _stamps(outputs), "result": result})
        return result


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None


def _stamps(paths: list[Path]) -> dict[str, list[int] | None]:
    """Size and time of last change of each file, which tell whether it was written since."""
    stamps: dict[str, list[int] | None] = {}
    for path in paths:
        try:
            status = path.stat()
            stamps[str(path)] = [status.st_size, status.st_mtime_ns]
        except FileNotFoundError:
            stamps[str(path)] = None
    return stamps

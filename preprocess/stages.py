"""Run a stage once: skipped while its inputs, options and outputs are those on record."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from preprocess.files import write_json
from tiednmt.errors import UserError


def claim(folder: Path) -> None:
    """Make ``folder`` one that stages may write to and remove from.

    :raises UserError: where it holds something else.
    """
    records = folder / ".stages"
    if folder.is_dir() and any(folder.iterdir()) and not records.exists():
        raise UserError(
            f"{folder}: not empty, and not a folder prepared by this command; choose another --dest"
        )
    records.mkdir(parents=True, exist_ok=True)


class Stages:
    """The stages of one prepared folder, with a record of each under ``.stages``.

    :raises UserError: where the folder holds something else.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.outputs: list[Path] = []
        self._records = folder / ".stages"
        self._run: set[Path] = set()
        claim(folder)

    def run(
        self,
        name: str,
        action: Callable[[], Any],
        inputs: list[Path],
        outputs: list[Path],
        options: dict[str, Any],
    ) -> Any:
        """What ``action`` returned (it must be JSON), now or when it last ran.

        ``action`` runs where an input, an output or an option is not as recorded. Outputs that
        an earlier run had and this one has not are removed, and so is the manifest until the
        whole has been done again.
        """
        self.outputs += outputs
        path = self._records / f"{name}.json"
        self._run.add(path)
        record = _read(path)
        wanted = {"inputs": self._stamps(inputs), "options": options}
        if all(record.get(key) == value for key, value in wanted.items()) and record.get(
            "outputs"
        ) == self._stamps(outputs):
            print(f"{name}: up to date", file=sys.stderr)
            return record["result"]
        (self.folder / "manifest.json").unlink(missing_ok=True)
        self._forget(path, keep=outputs)
        print(name, file=sys.stderr)
        result = action()
        write_json(path, {**wanted, "outputs": self._stamps(outputs), "result": result})
        return result

    def finish(self) -> None:
        """Remove the outputs of stages that an earlier run had and this one has not."""
        for path in set(self._records.glob("*.json")) - self._run:
            self._forget(path, keep=self.outputs)

    def _forget(self, path: Path, keep: list[Path]) -> None:
        kept = {str(output.relative_to(self.folder)) for output in keep}
        for name in set(_read(path).get("outputs", ())) - kept:
            (self.folder / name).unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def _stamps(self, paths: list[Path]) -> dict[str, list[int] | None]:
        """Size and time of last change of each file, which tell whether it was written since."""
        stamps: dict[str, list[int] | None] = {}
        for path in paths:
            inside = path.is_relative_to(self.folder)
            name = str(path.relative_to(self.folder) if inside else path.absolute())
            try:
                status = path.stat()
                stamps[name] = [status.st_size, status.st_mtime_ns]
            except FileNotFoundError:
                stamps[name] = None
        return stamps


def _read(path: Path) -> dict[str, Any]:
    """The record, empty where there is none or it is damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}

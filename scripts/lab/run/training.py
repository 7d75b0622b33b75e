"""``fairseq-train`` as a child process, with progress and resumable."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from scripts.lab.run.processes import Child, Place, side_by_side
from tiednmt.errors import UserError
from tiednmt.files import write_json


@dataclass(frozen=True)
class Run:
    """One call of ``fairseq-train`` with ``arguments``; all it leaves is in ``folder``.

    It ends after ``max_update`` updates or ``max_epoch`` epochs, where those are above zero.
    """

    name: str
    folder: Path
    arguments: tuple[str, ...]
    max_update: int = 0
    max_epoch: int = 0

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the lowest validation loss."""
        return self.folder / "checkpoint_best.pt"

    @property
    def log(self) -> Path:
        """What fairseq printed, over all its starts."""
        return self.folder / "train.log"

    @property
    def command(self) -> list[str]:
        """The command line with which anybody can repeat it."""
        return ["fairseq-train", *self.arguments, "--save-dir", str(self.folder)]


def train(runs: Iterable[Run], jobs: int) -> None:
    """Train ``runs``, ``jobs`` at a time.

    A run that is finished is left alone, one that was cut off goes on from its last checkpoint.

    Raises:
        UserError: a run failed (its last lines are shown), its folder holds another recipe's, or
            another process is training it.
    """
    side_by_side([partial(_Training, run) for run in runs if not _finished(run)], jobs)


def _finished(run: Run) -> bool:
    record = run.folder / "command.json"
    if not record.exists():
        return False
    known = json.loads(record.read_text(encoding="utf-8"))
    if known["command"] != run.command:
        raise UserError(
            f"{run.folder} holds a run of another command line; remove it or choose another --out"
        )
    return known["finished"]


class _Training(Child):
    """A run whose process is under way."""

    def __init__(self, run: Run, place: Place) -> None:
        command = [sys.executable, "-m", "scripts.lab.run.fairseq_train", *run.command[1:]]
        before = run.log.stat().st_size if run.log.exists() else 0
        super().__init__(f"training of {run.name}", command, run.log, place)
        self.run = run
        self._record(finished=False)
        self.seen = run.log.open(encoding="utf-8")
        self.seen.seek(before)
        self.unfinished_line = ""
        self.bar = tqdm(total=run.max_update or None, desc=run.name, unit=" updates")

    def _record(self, finished: bool) -> None:
        content = {"command": self.run.command, "finished": finished}
        write_json(self.run.folder / "command.json", content)

    def ended(self) -> bool:
        ended = super().ended()
        if ended:
            self._record(finished=True)
        return ended

    def show_progress(self) -> None:
        lines = (self.unfinished_line + self.seen.read()).split("\n")
        self.unfinished_line = lines.pop()
        for line in lines:
            entry = log_entry(line, "train_inner")
            if entry:
                updates = int(entry["num_updates"])
                self.bar.total = self._updates_in_all(updates, entry["update"])
                self.bar.update(updates - self.bar.n)
                self.bar.set_postfix(ppl=entry["ppl"])

    def _updates_in_all(self, updates: int, epochs: float) -> int:
        """Where the run will end, told from the ``epochs`` that its updates so far have made."""
        limits = [self.run.max_update, round(updates / epochs * self.run.max_epoch)]
        return min((limit for limit in limits if limit), default=0)

    def close(self) -> None:
        super().close()
        self.bar.close()
        self.seen.close()


def log_entry(line: str, kind: str) -> dict[str, Any] | None:
    """The figures of a line that fairseq logged with ``--log-format json``.

    The log is the one place that tells of a training under way, for progress and for timing.
    """
    for before in (f"| INFO | {kind} | ", f"[{kind}][INFO] - "):  # fairseq-train; through hydra
        _, found, rest = line.partition(before)
        if found and rest.startswith("{"):
            return json.loads(rest)
    return None


def log_entries(log: Path, kind: str) -> Iterator[dict[str, Any]]:
    """What fairseq logged as ``kind`` (``train_inner``, ``valid``) with ``--log-format json``."""
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            entry = log_entry(line, kind)
            if entry:
                yield entry

"""``fairseq-train`` as a child process: side by side, with progress, resumable."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from preprocess.files import write_json
from preprocess.parallel import cores
from scripts.recipes import ROOT
from tiednmt.errors import UserError


@dataclass(frozen=True)
class Run:
    """One call of ``fairseq-train`` with ``arguments``; all it leaves is in ``folder``."""

    name: str
    folder: Path
    arguments: tuple[str, ...]
    updates: int

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
        """The command line that anybody can repeat."""
        return ["fairseq-train", *self.arguments, "--save-dir", str(self.folder)]


def train(runs: Iterable[Run], jobs: int) -> None:
    """Train ``runs``, ``jobs`` at a time, each with its share of the cores.

    A run that is finished is left alone, one that was cut off goes on from its last checkpoint.

    Raises:
        UserError: a run failed (its last lines are shown), its folder holds another recipe's, or
            another process is training it.
    """
    waiting = deque(run for run in runs if not _finished(run))
    threads = max(1, cores() // jobs)
    running: list[_Training] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_Training(waiting.popleft(), threads))
            time.sleep(0.3)
            running = [training for training in running if not training.ended()]
    finally:
        for training in running:
            training.stop()


def curve(run: Run) -> list[dict[str, float]]:
    """Validation loss (NLL, nats a token) over updates, from the run's log."""
    points: dict[int, float] = {}
    for entry in log_entries(run.log, "valid"):
        points[int(entry["valid_num_updates"])] = float(entry["valid_nll_loss"]) * _LN2
    return [{"update": update, "nll": round(nll, 4)} for update, nll in sorted(points.items())]


_LN2 = 0.6931471805599453


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


def _record(run: Run, finished: bool) -> None:
    write_json(run.folder / "command.json", {"command": run.command, "finished": finished})


class _Training:
    """A run whose process is under way."""

    def __init__(self, run: Run, threads: int) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        self.run = run
        self.log = run.log.open("a", encoding="utf-8")
        self._lock()
        _record(run, finished=False)
        self.seen = run.log.open(encoding="utf-8")
        self.seen.seek(0, os.SEEK_END)
        self.unfinished_line = ""
        self.bar = tqdm(total=run.updates, desc=run.name, unit=" updates")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fairseq_cli.train", *run.command[1:]],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def _lock(self) -> None:
        # the child inherits the file, so a trainer that outlives its parent keeps the lock
        try:
            fcntl.flock(self.log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is training in {self.run.folder}; wait for it or stop it"
            ) from None

    def ended(self) -> bool:
        """Show what was logged since the last call; True once the process is done."""
        status = self.process.poll()
        lines = (self.unfinished_line + self.seen.read()).split("\n")
        self.unfinished_line = lines.pop()
        for line in lines:
            entry = _entry(line, "train_inner")
            if entry:
                self.bar.update(int(entry["num_updates"]) - self.bar.n)
                self.bar.set_postfix(ppl=entry["ppl"])
        if status is None:
            return False
        self._close()
        if status:
            with self.run.log.open(encoding="utf-8") as log:
                tail = "".join(f"  {line}" for line in deque(log, 15))
            raise UserError(
                f"training of {self.run.name} failed; the end of {self.run.log}:\n{tail}"
            )
        _record(self.run, finished=True)
        return True

    def stop(self) -> None:
        """End the process; what it saved so far is kept."""
        self.process.terminate()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        self.bar.close()
        self.log.close()
        self.seen.close()


def _entry(line: str, kind: str) -> dict[str, Any] | None:
    """The figures of a line that fairseq logged with ``--log-format json``."""
    _, found, rest = line.partition(f"| INFO | {kind} | ")
    return json.loads(rest) if found and rest.startswith("{") else None


def log_entries(log: Path, kind: str) -> Iterator[dict[str, Any]]:
    """What fairseq logged as ``kind`` (``train_inner``, ``valid``) with ``--log-format json``."""
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            entry = _entry(line, kind)
            if entry:
                yield entry

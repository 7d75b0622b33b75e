"""``fairseq-train`` as a child process, with progress and resumable."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.options import get_training_parser, parse_args_and_arch
from omegaconf import OmegaConf

import tiednmt.plugin  # noqa: F401
from scripts.lab.records.schema import Machine
from scripts.lab.run.kept import read_kept
from scripts.lab.run.processes import Child, Resources, side_by_side
from scripts.lab.run.progress import Progress
from scripts.lab.run.provenance import machine
from tiednmt.averaging import average, intermediate_checkpoints, last_checkpoints
from tiednmt.checkpoints import write_checkpoint
from tiednmt.errors import UserError
from tiednmt.files import write_json
from tiednmt.text.manifest import any_manifest
from tiednmt.typed import from_json, to_json

# in the folder of a run
COMMAND = "command.json"  # its command line, whether it has finished, and the digest of its data
MACHINE = "machine.json"  # where it was trained
BEST = "checkpoint_best.pt"
_TRAINED_ON = ("train", "valid", "dict", "shared-units")  # files of a data-bin, up to the dot


@dataclass(frozen=True)
class Run:
    """One call of ``fairseq-train``.

    Attributes:
        name: what messages call it.
        folder: the folder for everything that it leaves.
        arguments: those of ``fairseq-train``.
        max_update: the number of updates, or 0.
        max_epoch: the number of epochs, or 0.
        average_last: how many of the last checkpoints are averaged for scoring; 0: the best one is
            scored.
    """

    name: str
    folder: Path
    arguments: tuple[str, ...]
    max_update: int = 0
    max_epoch: int = 0
    average_last: int = 0

    @property
    def checkpoint(self) -> Path:
        """The checkpoint to score: the mean of the last ones, or the best."""
        return self._mean if self.average_last else self.best

    @property
    def best(self) -> Path:
        """The checkpoint with the lowest validation loss."""
        return self.folder / BEST

    @property
    def _mean(self) -> Path:
        return self.folder / f"mean_of_last_{self.average_last}.pt"

    @property
    def log(self) -> Path:
        """The file with what fairseq printed, over all starts of the run."""
        return self.folder / "train.log"

    @property
    def command(self) -> list[str]:
        """A command line that repeats the run."""
        return ["fairseq-train", *self.arguments, "--save-dir", str(self.folder)]

    @property
    def data_bin(self) -> Path:
        """The binarised corpus, or its first part if there are several."""
        return Path(self.arguments[0].split(os.pathsep)[0])

    def data_digest(self) -> str | None:
        """A digest of the files that training reads; None if no manifest has their hashes."""
        folders = (self.data_bin.parent, self.data_bin.parent.parent)  # the second of a part
        manifests = (any_manifest(folder) for folder in folders)
        files = next((manifest.get("files") for manifest in manifests if manifest), None)
        if not files:
            return None
        read = {
            name: digest
            for name, digest in files.items()
            if Path(name).parts[0] == "data-bin" and Path(name).name.split(".")[0] in _TRAINED_ON
        }
        return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()

    def require_checkpoints(self) -> None:
        """Refuse a finished run without what is scored and recorded of it.

        Raises:
            UserError: a checkpoint is missing.
        """
        for path in (self.best, self.checkpoint):
            if not path.exists():
                raise UserError(
                    f"{path}: missing, although the training has ended; put it back, or remove "
                    f"{self.folder} to train again"
                )

    def average(self) -> None:
        """Average the last checkpoints of a finished run, if asked for, and delete them.

        Raises:
            UserError: there are too few checkpoints.
        """
        if not self.average_last:
            return
        if not self._mean.exists():
            mean = average(last_checkpoints(self.folder, self.average_last))
            write_checkpoint(self._mean, mean)
        for path in intermediate_checkpoints(self.folder):
            path.unlink()


def train(runs: Sequence[Run], jobs: int) -> None:
    """Train ``runs``, ``jobs`` at a time.

    A finished run is left alone; an interrupted one continues from its last checkpoint.

    Raises:
        UserError: a run failed (its last lines are shown), its folder holds one of another recipe
            or on other data, it left too few checkpoints for their mean, or has lost one, or
            another process is training it.
    """
    finished = {run: _finished(run) for run in runs}
    for run, is_finished in finished.items():
        if is_finished:
            run.average()
            run.require_checkpoints()
    left = [run for run in runs if not finished[run]]
    side_by_side([partial(_Training, run, jobs) for run in left], jobs)


def trained_on(runs: Iterable[Run]) -> Machine | None:
    """Where the last of ``runs`` was trained; None of runs from before that was kept."""
    kept = [path for run in runs if (path := run.folder / MACHINE).exists()]
    if not kept:
        return None
    last = max(kept, key=lambda path: path.stat().st_mtime)
    return read_kept(last, partial(from_json, Machine), then="the record names no machine")


def _finished(run: Run) -> bool:
    record = run.folder / COMMAND
    if not record.exists():
        return False
    finished, same, data = read_kept(
        record,
        lambda known: (
            bool(known["finished"]),
            _mean_the_same(known["command"], run.command, known.get("data") is not None),
            known.get("data"),
        ),
        remove=run.folder,
    )
    if not same:
        raise UserError(
            f"{run.folder} holds a run with another command line; remove it or choose another --out"
        )
    if data is not None and data != run.data_digest():
        raise UserError(
            f"{run.folder} holds a run on other data than {run.data_bin} has now; remove it or "
            "choose another --out"
        )
    return finished


def _mean_the_same(one: Sequence[str], other: Sequence[str], has_digest: bool) -> bool:
    """Whether every option has the same value in both command lines, explicitly or by default.

    A run stays the same where its folder has moved, and on a machine with or without a GPU. Data
    with a digest may have moved too.
    """
    if one == other:
        return True
    places = {"save_dir", "cpu", "data"} if has_digest else {"save_dir", "cpu"}
    values = _values(one, places)
    return values is not None and values == _values(other, places)


def _values(command: Sequence[str], left_out: Container[str]) -> Any:
    """The value of every other option of ``fairseq-train``; None if it rejects the command."""
    try:
        with redirect_stderr(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hydra's, of what fairseq asks of it
            logging.getLogger("hydra").setLevel(logging.WARNING)
            args = parse_args_and_arch(get_training_parser(), list(command[1:]))
            config = convert_namespace_to_omegaconf(args)
    except (SystemExit, UserError):
        return None
    parts = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    assert isinstance(parts, dict)
    return {
        part: {name: value for name, value in options.items() if name not in left_out}
        if isinstance(options, dict)
        else options
        for part, options in parts.items()
    }


class _Training(Child):
    """A run in progress."""

    def __init__(self, run: Run, jobs: int, resources: Resources) -> None:
        self.run, self.jobs, self.data = run, jobs, run.data_digest()
        self.unfinished_line = ""
        command = [sys.executable, "-m", "scripts.lab.run.fairseq_train", *run.command[1:]]
        super().__init__(f"training of {run.name}", command, run.log, resources)

    def before_start(self) -> None:
        self._record(finished=False)
        # where the log ends, a character may be half there
        self.seen = self.run.log.open(encoding="utf-8", errors="replace")
        self.seen.seek(0, os.SEEK_END)
        self.progress = Progress(self.run.name, self.run.max_update or None)

    def _record(self, finished: bool) -> None:
        content = {"command": self.run.command, "finished": finished, "data": self.data}
        write_json(self.run.folder / COMMAND, content)

    def ended(self) -> bool:
        ended = super().ended()
        if ended:
            write_json(self.run.folder / MACHINE, to_json(machine(self.jobs)))
            self._record(finished=True)
            self.run.average()
        return ended

    def show_progress(self) -> None:
        lines = (self.unfinished_line + self.seen.read()).split("\n")
        self.unfinished_line = lines.pop()
        for line in lines:
            entry = log_entry(line, "train_inner")
            if entry:
                updates = int(entry["num_updates"])
                total = self._updates_in_all(updates, entry["update"])
                self.progress.update(updates, total, entry["ppl"])

    def _updates_in_all(self, updates: int, epochs: float) -> int | None:
        """The number of updates at the end, estimated from the ``epochs`` made so far.

        fairseq rounds these: early in a long epoch they are 0, and None is returned.
        """
        per_epoch = updates / epochs if epochs else 0
        limits = [self.run.max_update, round(per_epoch * self.run.max_epoch)]
        return min((limit for limit in limits if limit), default=None)

    def close(self) -> None:
        super().close()
        self.progress.close()
        self.seen.close()


def log_entry(line: str, kind: str) -> dict[str, Any] | None:
    """The figures of a line that fairseq logged with ``--log-format json``.

    The log is the only source on a training in progress: for the progress bar and for timing.
    """
    for before in (f"| INFO | {kind} | ", f"[{kind}][INFO] - "):  # fairseq-train; through hydra
        _, found, rest = line.partition(before)
        if found and rest.startswith("{"):
            return json.loads(rest)
    return None


def log_entries(log: Path, kind: str) -> Iterator[dict[str, Any]]:
    """What fairseq logged as ``kind`` (``train_inner``, ``valid``) with ``--log-format json``."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            entry = log_entry(line, kind)
            if entry:
                yield entry

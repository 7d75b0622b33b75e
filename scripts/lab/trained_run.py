"""A trained row as the start of further trainings, whose results are kept and made only once."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from fairseq.optim.lr_scheduler import LR_SCHEDULER_DATACLASS_REGISTRY

from scripts.lab.run.kept import is_current, read_kept
from scripts.lab.run.processes import call
from scripts.lab.run.summary import read_summary
from scripts.lab.run.training import BEST, COMMAND, Run
from scripts.lab.run.training import train as train_runs
from tiednmt.errors import UserError
from tiednmt.files import write_json
from tiednmt.options import option_name
from tiednmt.text.manifest import MANIFEST


@dataclass(frozen=True)
class TrainedRun:
    """A row of an experiment after its training, and the folder for what is made from it.

    Attributes:
        folder: of the row, with ``command.json`` and the checkpoints.
        data: the prepared corpus.
        out: the folder to fill.
        further: options that override those of the row in every training.
        seed: of every training.
    """

    folder: Path
    data: Path
    out: Path
    further: Sequence[str] = ()
    seed: int = 1

    @property
    def checkpoint(self) -> Path:
        """The checkpoint with the lowest validation loss."""
        return self.folder / BEST

    def make(
        self, name: str, maker: Callable[[Path], object], *options: object, whole: str = ""
    ) -> Path:
        """The folder ``name``, made by ``maker`` with these options unless it is there.

        Args:
            name: of the folder.
            maker: makes it, or continues where it was interrupted.
            options: what it is made with.
            whole: the file that ``maker`` writes last; without one the folder appears at the end.

        Raises:
            UserError: it was made with other options or from another checkpoint.
        """
        folder, kept = self.out / name, self.out / f"{name}-options.json"
        made_of = [str(self.checkpoint), self.checkpoint.stat().st_mtime_ns, str(self.data)]
        wanted = [*made_of, *map(str, options)]
        if folder.exists() and (not kept.is_file() or read_kept(kept, list) != wanted):
            raise _other_options(folder)
        if not (folder / whole).exists():
            write_json(kept, wanted)
            maker(folder)
        return folder

    def train(self, name: str, data: Path, updates: int, *options: str) -> Run:
        """Train with the options of the row, overridden by these.

        Another ``--lr-scheduler`` takes the place of the row's, with its options.

        Raises:
            UserError: the folder holds a training with other options, or the training failed.
        """
        _, _, *arguments = read_kept(
            self.folder / COMMAND, lambda content: [str(word) for word in content["command"]]
        )
        changes = ("--max-update", str(updates), "--seed", str(self.seed), *self.further, *options)
        if "--lr-scheduler" in arguments and "--lr-scheduler" in changes:
            arguments = _without_schedule(arguments, changes)
        run = Run(name, self.out / name, (str(data), *arguments, *changes), max_update=updates)
        if run.folder.exists() and not (run.folder / COMMAND).is_file():
            raise _other_options(run.folder)
        train_runs([run], jobs=1)
        return run

    def bleu(self, data: Path, subset: str, **checkpoints: Path) -> dict[str, float]:
        """BLEU of checkpoints on a subset of ``data``, by the names they are given here."""
        names = "-".join(checkpoints)
        path = self.out / f"scores-{names}-{data.name}-{subset}-seed-{self.seed}.json"

        def scored(what: str) -> dict[str, Any]:
            systems = read_kept(path, lambda content: content["subset"][subset]["systems"])
            return {system["name"]: system[what] for system in systems}

        wanted = {name: str(checkpoint) for name, checkpoint in checkpoints.items()}
        is_known = is_current(path, data / MANIFEST, *checkpoints.values())
        if not is_known or scored("checkpoint") != wanted:
            named = [f"{name}={checkpoint}" for name, checkpoint in checkpoints.items()]
            command = [sys.executable, "-m", "scripts.evaluate", *named, "--data", str(data)]
            call([*command, "--subset", subset, "--json", str(path), "--cpu"])
        return {name: bleu["score"] for name, bleu in scored("bleu").items()}


def _without_schedule(arguments: Sequence[str], changes: Sequence[str]) -> list[str]:
    """The arguments without those that only their scheduler knows, not that of ``changes``."""
    unknown = _options_of_schedule(arguments) - _options_of_schedule(changes)
    left, words = [], iter(arguments)
    for word in words:
        if word in unknown:
            next(words)  # its value
        else:
            left.append(word)
    return left


def _options_of_schedule(words: Sequence[str]) -> set[str]:
    """The options of the last scheduler that is named, but for those of other parts."""
    name = [value for option, value in pairwise(words) if option == "--lr-scheduler"][-1]
    own = fields(LR_SCHEDULER_DATACLASS_REGISTRY[name])
    return {option_name(field.name) for field in own if not str(field.default).startswith("${")}


def _other_options(folder: Path) -> UserError:
    return UserError(f"{folder}: made with other options; choose another --out")


def losses(run: Run) -> dict[int, float]:
    """Validation NLL in bits per unit, by update."""
    return {one.update: one.nll / math.log(2) for one in read_summary(run.folder).validations}


def require_run(folder: Path) -> None:
    """Refuse a folder that is not a trained row of an experiment."""
    for name in (COMMAND, BEST):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder / name}: no such file; give the folder of a row of scripts.reproduce"
            )

"""Run a stage once: it is skipped as long as its inputs, options and outputs are those on record.

Several machines may share the work on one folder: each runs stages of its own, and the outputs of
others that a stage needs are checked against their records.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiednmt.errors import UserError
from tiednmt.files import refuse_what_fairseq_cuts, sha256, write_json, write_whole
from tiednmt.text.manifest import MANIFEST

FORMAT = 2  # of a record
_OWNER, _LOCK, _ASIDE = "corpus", "lock", "manifest"  # further files in the folder of the records
RUN_AGAIN = "run the steps from there on again"


@dataclass(frozen=True)
class Stage:
    """One stage of preparing a corpus.

    ``action`` makes the ``outputs`` from the ``inputs`` and returns JSON. If the work is divided,
    ``step`` and ``part`` decide which call of the command runs it (see :class:`WorkShard`).
    """

    name: str
    action: Callable[[], Any]
    inputs: list[Path]
    outputs: list[Path]
    options: dict[str, Any] = field(default_factory=dict)
    step: str = ""
    part: int | None = None  # None: cannot be divided


@dataclass(frozen=True)
class WorkShard:
    """The stages that a call runs: all of them, those of one step, or a share of its parts.

    Raises:
        UserError: there is no such share.
    """

    step: str | None = None
    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise UserError(f"--shard {self.number}/{self.of}: the first number is 1 to {self.of}")

    def has(self, stage: Stage) -> bool:
        """Whether ``stage`` is run here."""
        mine = stage.part is None or stage.part % self.of == self.number - 1
        return self.step in (None, stage.step) and mine


def claim(folder: Path, corpus: str | None = None) -> None:
    """Make ``folder`` one in which stages may write and remove files.

    Args:
        folder: the folder to fill.
        corpus: the corpus that it is for; the files of another corpus are not replaced.

    Raises:
        UserError: it holds something else, or fairseq does not take its name.
    """
    refuse_what_fairseq_cuts(folder, "choose another --dest", ",:")  # "," of test sets
    records = folder / ".stages"
    if folder.is_dir() and any(folder.iterdir()) and not records.exists():
        raise UserError(
            f"{folder}: not empty, and not a folder prepared by this command; choose another --dest"
        )
    records.mkdir(parents=True, exist_ok=True)
    if corpus is None:
        return
    owner = records / _OWNER
    held = owner.read_text(encoding="utf-8").strip() if owner.is_file() else _held_by(folder)
    if held not in (None, corpus):
        raise UserError(f"{folder}: holds {held}, not {corpus}; choose another --dest")
    if not owner.is_file():
        with write_whole(owner) as file:
            file.write(f"{corpus}\n")


def _held_by(folder: Path) -> str | None:
    """The corpus in a folder that was prepared before folders stored its key."""
    manifest = _json(folder / MANIFEST)
    languages = [manifest[side] for side in ("source", "target") if side in manifest]
    return corpus_key(manifest["corpus"], *languages) if "corpus" in manifest else None


def corpus_key(name: object, *languages: object) -> str:
    """The key of a corpus, which its folder stores."""
    return f"{name} {'-'.join(map(str, languages))}".rstrip()


@contextmanager
def one_writer(folder: Path, shared: bool = False) -> Iterator[None]:
    """Let only one command at a time fill ``folder``, except those that share the work.

    The lock ends with its process, however that ends.

    Raises:
        UserError: another command is filling it.
    """
    claim(folder)
    with open(folder / ".stages" / _LOCK, "a+b") as file:
        try:
            fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise UserError(
                f"{folder}: another command is filling it; wait for its end, or choose another"
                " --dest"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield


class Stages:
    """The stages of one prepared folder, with a record of each under ``.stages``.

    A record has the options, what the action returned, and size, time of last change and SHA-256
    of every input and output. A file is taken for the same while size and time are, or else while
    its hash is.

    Raises:
        UserError: the folder holds something else.
    """

    def __init__(self, folder: Path, corpus: str | None = None):
        self.folder = folder
        self._records = folder / ".stages"
        self._done: list[Stage] = []
        self._hashes: dict[tuple[str, int, int], str] = {}
        claim(folder, corpus)

    def run(self, stage: Stage) -> Any:
        """Run a stage, unless it is up to date, and return the result of its action.

        A stage is up to date if its inputs, outputs and options are as recorded. Outputs that only
        an earlier run had are removed, and so is the manifest, until all stages are done again. If
        the action fails and leaves the outputs as they were, the folder stays as it was.
        """
        path = self._record_path(stage.name)
        self._done.append(stage)
        if self._fault(stage) is None:
            print(f"{stage.name}: up to date", file=sys.stderr)
            return self.result(stage.name)
        manifest, aside = self.folder / MANIFEST, self._records / _ASIDE
        aside.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            os.replace(manifest, aside)
        print(stage.name, file=sys.stderr)
        try:
            inputs = self._stamps(stage.inputs)
            result = stage.action()
        except BaseException:
            if aside.exists() and self._outputs_are_as_recorded(path):
                os.replace(aside, manifest)
            raise
        aside.unlink(missing_ok=True)
        self._forget(path, keep=stage.outputs)
        write_json(
            path,
            {
                "format": FORMAT,
                "inputs": inputs,
                "options": stage.options,
                "outputs": self._stamps(stage.outputs),
                "result": result,
            },
        )
        return result

    def run_shard(self, stages: Sequence[Stage], share: WorkShard) -> None:
        """Run the stages of ``share``, in order.

        Raises:
            UserError: one needs an output that a stage outside the share has not made.
        """
        made_by = {path: stage for stage in stages for path in stage.outputs}
        mine = [stage for stage in stages if share.has(stage)]
        needed = {path: made_by[path] for stage in mine for path in stage.inputs if path in made_by}
        for maker in {stage.name: stage for stage in needed.values()}.values():
            if not share.has(maker):
                self.require(maker, made_by)
        for stage in mine:
            self.run(stage)

    def require(self, stage: Stage, made: Collection[Path]) -> None:
        """Refuse to continue if ``stage`` is not up to date.

        Args:
            stage: a stage that another call ran.
            made: the outputs of all stages. Other inputs are raw files, which only the stages that
                read them need.

        Raises:
            UserError: it is not; the message says why.
        """
        fault = self._fault(stage, made)
        if fault:
            raise UserError(f"{self.folder}: {stage.name} (--step {stage.step}) {fault}")

    def finish(self, stages: Sequence[Stage] | None = None) -> dict[str, str]:
        """Check that all stages are done, and remove the outputs of those that no longer exist.

        Args:
            stages: all stages of the folder; by default those that were run.

        Returns:
            The SHA-256 of each output, computed anew and compared with the records.

        Raises:
            UserError: a stage is not up to date, or a file is not the one that it wrote.
        """
        stages = self._done if stages is None else stages
        made = {path for stage in stages for path in stage.outputs}
        hashes = {}
        for stage in stages:
            self.require(stage, made)
            recorded = _read(self._record_path(stage.name))["outputs"]
            for path in stage.outputs:
                name = self._name(path)
                hashes[name] = sha256(path)
                if hashes[name] != recorded[name][2]:
                    raise UserError(
                        f"{path}: not the file that {stage.name} wrote (it has SHA-256"
                        f" {hashes[name]}); remove it and {RUN_AGAIN}"
                    )
        (self._records / _ASIDE).unlink(missing_ok=True)
        records = {self._record_path(stage.name) for stage in stages}
        for path in set(self._records.glob("*.json")) - records:
            self._forget(path, keep=[path for stage in stages for path in stage.outputs])
        return hashes

    def result(self, name: str) -> Any:
        """The result of the action of the stage of this name when it last ran."""
        return _read(self._record_path(name))["result"]

    def input_hashes(self, name: str) -> dict[Path, str]:
        """The SHA-256 of each file that the stage of this name read when it last ran."""
        inputs = _read(self._record_path(name))["inputs"]
        return {self.folder / name: digest for name, (_, _, digest) in inputs.items()}

    def _record_path(self, name: str) -> Path:
        return self._records / f"{name}.json"

    def _fault(self, stage: Stage, made: Collection[Path] | None = None) -> str | None:
        """Why the stage has to be run (again); None if it is up to date.

        ``made``: the inputs that count; by default all.
        """
        record = _read(self._record_path(stage.name))
        if record.get("format") != FORMAT:
            return "has not been done; run it first"
        for option in sorted(record["options"].keys() | stage.options.keys()):
            before, now = record["options"].get(option), stage.options.get(option)
            if before != now:
                return f"was done with {option} {before}, not {now}; {RUN_AGAIN}"
        for kind, paths in (("inputs", stage.inputs), ("outputs", stage.outputs)):
            recorded = record[kind]
            if kind == "inputs" and made is not None:
                paths = [path for path in paths if path in made]
                known = set(map(self._name, made))
                recorded = {name: stamp for name, stamp in recorded.items() if name in known}
            names = dict.fromkeys(map(self._name, paths))  # one file may be read as several
            if list(recorded) != list(names):
                return f"had other {kind}; {RUN_AGAIN}"
            for path in paths:
                if not self._is(path, recorded[self._name(path)]):
                    return f"had another {path}; {RUN_AGAIN}"
        return None

    def _is(self, path: Path, stamp: list[Any]) -> bool:
        try:
            status = path.stat()
        except FileNotFoundError:
            return False
        size, changed, digest = stamp
        if status.st_size != size:
            return False
        return bool(status.st_mtime_ns == changed) or sha256(path) == digest

    def _outputs_are_as_recorded(self, record: Path) -> bool:
        outputs = _read(record).get("outputs")
        return outputs is not None and all(
            self._is(self.folder / name, stamp) for name, stamp in outputs.items()
        )

    def _forget(self, path: Path, keep: list[Path]) -> None:
        kept = {self._name(output) for output in keep}
        inside = self.folder.resolve()
        for name in set(_read(path).get("outputs", ())) - kept:
            output = self.folder / name
            if not output.parent.resolve().is_relative_to(inside):
                continue  # no stage wrote there: the record is damaged or foreign
            output.unlink(missing_ok=True)
            with suppress(OSError):  # it is not empty, or is gone
                output.parent.rmdir()
        path.unlink(missing_ok=True)

    def _name(self, path: Path) -> str:
        inside = path.is_relative_to(self.folder)
        return str(path.relative_to(self.folder) if inside else path.absolute())

    def _stamps(self, paths: list[Path]) -> dict[str, list[Any]]:
        """Size, time of last change and hash of each file."""
        stamps: dict[str, list[Any]] = {}
        for path in paths:
            status = path.stat()
            key = (self._name(path), status.st_size, status.st_mtime_ns)
            if key not in self._hashes:
                self._hashes[key] = sha256(path)
            stamps[key[0]] = [*key[1:], self._hashes[key]]
        return stamps


def _read(path: Path) -> dict[str, Any]:
    """The record, empty if there is none or it is damaged."""
    record = _json(path)
    files = [record.get("inputs"), record.get("outputs")]
    is_whole = isinstance(record.get("options"), dict) and "result" in record
    if not is_whole or not all(map(_are_stamps, files)):
        return {}
    return record


def _are_stamps(files: Any) -> bool:
    """Whether this has size, time of last change and hash of each file."""
    return isinstance(files, dict) and all(
        isinstance(stamp, list) and [*map(type, stamp)] == [int, int, str]
        for stamp in files.values()
    )


def _json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}

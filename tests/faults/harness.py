"""Runs malformed inputs, each in a process of its own, and says what became of them."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults import commands
from tests.faults.kinds import KINDS, Case
from tests.faults.world import World

REFUSED, ACCEPTED = "refused", "accepted"
FAULTS = ("traceback", "accepted damage", "ran code", "lost good files", "half-written", "no end")
TIME = 60.0  # seconds that a command may take, in which a loaded machine starts none


@dataclass(frozen=True)
class Outcome:
    """What became of the input of this kind and number."""

    kind: str
    number: int
    case: Case
    verdict: str
    output: str


def outcomes(world: World, inputs: int, seed: int, kinds: list[str]) -> Iterator[Outcome]:
    """Run ``inputs`` inputs, of each kind in turn; a seed and a number make the same one again."""
    for kind, number in numbered(inputs, kinds):
        yield one(world, kind, number, seed)


def numbered(inputs: int, kinds: list[str]) -> list[tuple[str, int]]:
    """The first ``inputs`` inputs: kind and number, of each kind in turn."""
    return [(kinds[i % len(kinds)], i // len(kinds)) for i in range(inputs)]


def one(world: World, kind: str, number: int, seed: int) -> Outcome:
    """Run one input."""
    folder = world.folder / "case"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    good = _state(world.folder)
    case = KINDS[kind](Random(f"{seed} {kind} {number}"), world, folder)
    before = _state(folder)
    status, output = _run(case, folder)
    left = [path.name for path in folder.rglob("*") if path.suffix in (".partial", ".tmp")]
    if (folder / "RAN").exists():
        verdict = "ran code"
    elif _state(world.folder) != good or any(_state(folder).get(p) != s for p, s in before.items()):
        verdict = "lost good files"
    elif status is None:
        verdict = "no end"
    elif "Traceback" in output:
        verdict = "traceback"
    elif left:
        verdict = "half-written"
    elif status == 0:
        verdict = "accepted damage" if case.refused else ACCEPTED
    else:
        verdict = REFUSED
    return Outcome(kind, number, case, verdict, output)


def _run(case: Case, folder: Path) -> tuple[int | None, str]:
    """Exit status, None where it did not end, and what was printed."""
    log = folder.parent / "output"
    process = os.fork()
    if process == 0:
        _child(case, folder, log)
    end = time.monotonic() + TIME
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), log.read_text("utf-8", "replace")
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None, log.read_text("utf-8", "replace")


def _child(case: Case, folder: Path, log: Path) -> None:
    """Never returns, and closes nothing that is the parent's."""
    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(i, "w" if i else "r") for i in range(3))
        os.chdir(folder)
        if case.largest is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (case.largest, case.largest))
        try:
            commands.run(case.command, case.arguments)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of last change of every file, but for those of the case that is run."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not {"case", "output"} & set(path.relative_to(folder).parts)
    }

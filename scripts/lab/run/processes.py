"""Commands side by side as child processes, each with its share of the cores and a GPU."""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from scripts.lab.run.specs import ROOT
from tiednmt.errors import UserError
from tiednmt.processor import cores

LINES_SHOWN = 15


@dataclass(frozen=True)
class Resources:
    """The share of the machine that a process may use: threads, and a GPU if there is one."""

    threads: int
    gpu: str | None  # as CUDA_VISIBLE_DEVICES names it

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that uses these resources."""
        gpu = {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu}
        threads = {"OMP_NUM_THREADS": str(self.threads)}
        return {**os.environ, **threads, **gpu, "PYTHONWARNINGS": "ignore"}


class Child:
    """A running command, whose output is appended to ``log``.

    Raises:
        UserError: another process writes to that log.
    """

    def __init__(self, what: str, command: Sequence[str], log: Path, resources: Resources) -> None:
        self.what, self.log, self.resources = what, log, resources
        log.parent.mkdir(parents=True, exist_ok=True)
        self._output = log.open("a", encoding="utf-8")
        self._lock()
        self._begins_at = log.stat().st_size
        try:
            self.before_start()
            # last, since a process that has started must not be left by an exception
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=resources.environment,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
            )
        except BaseException:
            self._output.close()
            raise

    def _lock(self) -> None:
        # the child inherits the file, so one that outlives its parent keeps the lock
        try:
            fcntl.flock(self._output, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._output.close()
            raise UserError(
                f"another process is at work in {self.log.parent}; wait for it or stop it"
            ) from None
        except OSError:
            pass  # a file system without locks

    def ended(self) -> bool:
        """True once the process is done.

        Raises:
            UserError: it failed; the end of its log is shown.
        """
        status = self.process.poll()
        self.show_progress()
        if status is None:
            return False
        self.close()
        if status:
            raise UserError(f"{self.what} failed; the end of {self.log}:\n{self._tail()}")
        return True

    def _tail(self) -> str:
        """The last lines that the process printed."""
        with self.log.open(encoding="utf-8", errors="replace") as lines:
            lines.seek(self._begins_at)
            return "".join(f"  {line}" for line in deque(lines, LINES_SHOWN))

    def before_start(self) -> None:
        """Called when no other process writes to the log, before the process starts."""

    def show_progress(self) -> None:
        """Called now and then, a last time after the process has ended."""

    def stop(self) -> None:
        """End the process; what it wrote so far is kept."""
        self.process.terminate()
        self.process.wait()
        self.close()

    def close(self) -> None:
        """Close the log."""
        self._output.close()


def announced(what: str, command: Sequence[str], log: Path, resources: Resources) -> Child:
    """A :class:`Child`; standard error says that it starts."""
    print(what, file=sys.stderr)
    return Child(what, command, log, resources)


def side_by_side(starts: Sequence[Callable[[Resources], Child]], jobs: int) -> None:
    """Run all children, ``jobs`` at a time, and wait for them to end.

    If one fails, the others go on. Whatever interrupts this also stops the running children.

    Raises:
        UserError: some failed; this says how.
    """
    waiting, free = deque(starts), shared_among(jobs, len(starts))
    running: list[Child] = []
    failures: list[UserError] = []

    def fail(failure: UserError) -> None:
        failures.append(failure)
        if waiting or running:
            print(f"{failure}\nThe others go on.", file=sys.stderr)

    try:
        while waiting or running:
            while waiting and free:
                try:
                    running.append(waiting.popleft()(free[0]))
                    del free[0]
                except UserError as failure:
                    fail(failure)
            time.sleep(0.3)
            for child in [*running]:
                try:
                    if not child.ended():
                        continue
                    running.remove(child)
                except UserError as failure:
                    running.remove(child)
                    fail(failure)
                free.append(child.resources)
    finally:
        for child in running:
            child.stop()
    if failures:
        raise UserError("\n".join(map(str, failures)))


def shared_among(jobs: int, used: int | None = None) -> list[Resources]:
    """Divide the cores and GPUs among ``jobs`` processes; the shares of the ``used`` first.

    No process gets more threads than OMP_NUM_THREADS allows.
    """
    threads = max(1, cores() // jobs)
    most = os.environ.get("OMP_NUM_THREADS", "")
    if most.isdecimal() and int(most):
        threads = min(threads, int(most))
    cards: Sequence[str | None] = gpus() or [None]
    return [
        Resources(threads, cards[i % len(cards)])
        for i in range(jobs if used is None else min(jobs, used))
    ]


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if not torch.cuda.is_available():
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return chosen.split(",") if chosen else [str(i) for i in range(torch.cuda.device_count())]


def call(command: Sequence[str]) -> None:
    """Run one command, which prints its own messages.

    Raises:
        UserError: it failed.
    """
    if subprocess.run(command, cwd=ROOT).returncode:
        raise UserError(f"this step failed: {shlex.join(command)}")

"""The project's and fairseq's commands as child processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

from tests.support.zygote import Zygote

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent  # where this environment's fairseq-* commands are
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}

# fuller batches than multiples of eight, the default, of few sentences
PLUGIN = ("--user-dir", "tiednmt", "--cpu", "--required-batch-size-multiple", "1")
# Small and quick; the learning rate does not look at --max-update, so that runs can be compared.
# Unless batches are made anew each epoch, fairseq goes on with those of the epoch it was started
# in, and a run resumed in a later epoch sees others than the run that was not interrupted.
TRAIN = (
    *PLUGIN,
    *("--arch", "tied_gru_tiny", "--criterion", "tied_cross_entropy", "--label-smoothing", "0.1"),
    *("--optimizer", "adam", "--lr", "0.005", "--clip-norm", "1", "--max-tokens", "800"),
    *("--no-progress-bar", "--log-interval", "1", "--num-workers", "0"),
    *("--update-epoch-batch-itr", "True"),
)


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    command: list[str]
    status: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def check(self) -> Done:
        assert self.status == 0, f"{self.command} gave {self.status}:\n{self.output[-3000:]}"
        return self


def command_line(name: str, *arguments: object) -> list[str]:
    """A console script of this environment, or ``-m module`` with its interpreter."""
    program = [sys.executable] if name == "-m" else [str(SCRIPTS / name)]
    return [*program, *(["-m"] if name == "-m" else []), *map(str, arguments)]


def run(name: str, *arguments: object, cwd: Path = ROOT, text: str = "") -> Done:
    """Run to the end, with ``text`` as its standard input."""
    command = command_line(name, *arguments)
    if sys.platform == "linux":  # elsewhere a process that has loaded torch is not to be forked
        words = command[1:] if name == "-m" else command
        with TemporaryFile() as given, TemporaryFile() as stdout, TemporaryFile() as stderr:
            given.write(text.encode())
            given.seek(0)
            streams = [file.fileno() for file in (given, stdout, stderr)]
            status = _zygote().run(words, cwd, streams)
            return Done(command, status, *map(_written, (stdout, stderr)))
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, input=text, capture_output=True, encoding="utf-8"
    )
    return Done(command, done.returncode, done.stdout, done.stderr)


@cache
def _zygote() -> Zygote:
    return Zygote(ENVIRONMENT)


def _written(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


def train(data: Path, save_dir: Path, *options: object, cwd: Path = ROOT) -> Done:
    """``fairseq-train`` of a tiny tied model; a later option wins over those of ``TRAIN``."""
    arguments = (*TRAIN, "--save-dir", save_dir, *options)
    return run("fairseq-train", data, *arguments, cwd=cwd)


def repeatable_chance() -> random.Random:
    """Other choices at every call, of which a test that failed prints the seed.

    The environment's ``TIEDNMT_TEST_SEED`` repeats them.
    """
    seed = int(os.environ.get("TIEDNMT_TEST_SEED") or random.SystemRandom().getrandbits(32))
    print(f"TIEDNMT_TEST_SEED={seed}")
    return random.Random(seed)


def run_until_killed(updates: range, name: str, *arguments: object) -> None:
    """Kill the training shortly after it has logged one of these updates.

    That may be anywhere in the next update, or in writing a checkpoint.
    """
    chance = repeatable_chance()
    fatal = chance.choice(updates)
    print(f"killed after update {fatal}")
    process = subprocess.Popen(
        command_line(name, *arguments),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert process.stdout is not None
    for line in process.stdout:
        if f"num_updates={fatal}," in line:
            time.sleep(chance.random() / 20)
            process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def run_workers(
    count: int, name: str, *arguments: object, ddp_backend: str = "legacy_ddp"
) -> list[Done]:
    """The same training by each of so many processes, which share every update on the CPU."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(count) as pool:
        parallel = (
            *("--distributed-world-size", count, "--distributed-backend", "gloo"),
            *("--distributed-init-method", f"file://{folder}/meeting", "--distributed-no-spawn"),
            *("--ddp-backend", ddp_backend, "--distributed-rank"),
        )
        ranks = [pool.submit(run, name, *arguments, *parallel, rank) for rank in range(count)]
    return [rank.result().check() for rank in ranks]


class Forks:
    """``subprocess`` as the lab calls it; its commands are forks, as those of :func:`run`.

    Of Python alone, and not on other systems than Linux.
    """

    DEVNULL, STDOUT = subprocess.DEVNULL, subprocess.STDOUT

    @staticmethod
    def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[bytes]:
        """A command that speaks for itself."""
        with open(os.devnull) as given:
            status = _zygote().run(command[1:], cwd, [given.fileno(), 1, 2])
        return subprocess.CompletedProcess(command, status)

    class Popen:
        """A command under way, which cannot be stopped."""

        def __init__(self, command: list[str], *, cwd: Path, stdout: IO[str], **_: object) -> None:
            self._pool = ThreadPoolExecutor(1)
            self._status = self._pool.submit(self._run, command[1:], cwd, stdout.fileno())

        @staticmethod
        def _run(words: list[str], cwd: Path, written: int) -> int:
            with open(os.devnull) as given:
                return _zygote().run(words, cwd, [given.fileno(), written, written])

        def poll(self) -> int | None:
            if not self._status.done():
                return None
            self._pool.shutdown()
            return self._status.result()

        def terminate(self) -> None:
            """Nothing that a test can do: it is waited for."""

        def wait(self) -> int:
            return self._status.result()


class Background:
    """Commands that run two at a time while tests wait only for those they ask about."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(2)

    def start(self, function, *arguments, **options) -> Future:
        return self._pool.submit(function, *arguments, **options)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

"""What happens to commands that run long: they are killed, the disk is full."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.lab.run.specs import ROOT


def kill_when_there(path: Path, command: Sequence[str]) -> None:
    """Kill the command and its workers in the moment in which ``path`` exists."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_with_little_space(size: int, command: Sequence[str]) -> str:
    """What the command says on its last line, no file growing beyond ``size`` bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    # a process whose lines are counted would write more than that as well
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, preexec_fn=limit
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]

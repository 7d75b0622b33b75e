"""What happens to commands that run long: they are killed, the disk is full."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from scripts.lab.run.specs import ROOT

# a moment that is over before anybody looked ends with a renaming
_RUN_TILL_THERE = """
import os, runpy, signal, sys
path, module = sys.argv[1:3]
def kill_when_there(event, _):
    if event == "os.rename" and os.path.exists(path):
        os.killpg(0, signal.SIGKILL)
sys.addaudithook(kill_when_there)
del sys.argv[:2]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def kill_when_there(path: Path, command: Sequence[str]) -> None:
    """Kill ``python -m …`` and its workers in the moment in which ``path`` exists."""
    python, _, *module = command
    process = subprocess.Popen(
        [python, "-c", _RUN_TILL_THERE, str(path), *module],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not path.exists() and process.poll() is None:
        time.sleep(0.001)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert path.exists()


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

"""A process of its own for each run of a benchmark: what it prints, and its peak memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from scripts.lab.run.specs import ROOT
from tiednmt.errors import UserError

_MACOS = sys.platform == "darwin"  # whose ru_maxrss is in bytes


def run_module(
    module: Sequence[str],
    threads: int,
    log: Path,
    *,
    python: str = sys.executable,
    on_line: Callable[[str], object] = lambda line: None,
) -> float | None:
    """Run ``python -m …`` with a number of threads; its output goes to ``log``.

    ``on_line`` is called with every line as soon as it is printed.

    Returns:
        The peak of its memory until its last line, in bytes; None except on Linux, and None where
        it may have used a GPU.

    Raises:
        UserError: it failed; the message shows its last lines.
    """
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(
            [python, "-m", *module],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        peak = None
        for line in process.stdout:
            peak = _most_held(process.pid) or peak
            on_line(line)
            output.write(line)
    if process.returncode:
        tail = "".join(f"  {line}\n" for line in log.read_text("utf-8").splitlines()[-10:])
        raise UserError(f"a run of the benchmark failed; its last lines:\n{tail}")
    return None if torch.cuda.is_available() else peak


def printed_by_module(module: Sequence[str], threads: int) -> Any:
    """What ``python -m …`` prints as JSON in its last line; see :func:`run_module`."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "run.log"
        run_module(module, threads, log)
        return last_json(log)


def last_json(log: Path) -> Any:
    """The last line of ``log``."""
    return json.loads(log.read_text(encoding="utf-8").splitlines()[-1])


def peak_memory() -> float:
    """The peak of this process's memory so far, in bytes: on the GPU if there is one."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    most = _most_held("self")  # ru_maxrss counts the peak of the parent too, on Linux
    if most is not None:
        return most
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if _MACOS else 1024)


def _most_held(process: int | str) -> float | None:
    """The peak of a running process's memory so far, in bytes; None if Linux does not tell."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    lines = dict(line.split(":", 1) for line in status.splitlines())
    peak = lines.get("VmHWM")  # gone once the process has ended
    return 1024.0 * int(peak.removesuffix("kB")) if peak else None

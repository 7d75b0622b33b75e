"""What importing the packages loads: judged by the modules, not by the time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = sorted(
    [path.stem for path in (ROOT / "preprocess").glob("*.py") if "__main__" in path.read_text()]
    + [path.parent.name for path in (ROOT / "preprocess").glob("*/__main__.py")]
)

LOADED = """
import sys
before = set(sys.modules)
try:
    {code}
finally:
    loaded = {{name.partition(".")[0] for name in sys.modules if name not in before}}
    print(*sorted(loaded - sys.stdlib_module_names - {{"__mp_main__"}}), file=sys.stderr)
"""

HELP = """
    import runpy
    sys.argv = ["{command}", "--help"]
    runpy.run_module("preprocess.{command}", run_name="__main__", alter_sys=True)
"""


def loaded_by(code: str) -> set[str]:
    """The packages beyond the standard library that a fresh interpreter loads to run ``code``."""
    command = [sys.executable, "-c", LOADED.format(code=code)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("module", ["tiednmt", "tiednmt.errors"])
def test_the_package_and_its_errors_load_the_standard_library_alone(module):
    assert loaded_by(f"import {module}") == {"tiednmt"}


def test_the_commands_of_preprocess_are_found():
    assert len(COMMANDS) == 13


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_corpus_loads_nothing_heavy(command):
    assert loaded_by(HELP.format(command=command)) == {"preprocess", "tiednmt", "tqdm"}

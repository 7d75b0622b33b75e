"""How a command ends on bad input."""

from __future__ import annotations

import subprocess
import sys

WITH_A_BUSY_THREAD = """
import threading, time
import tiednmt.plugin
from tiednmt.errors import UserError
threading.Thread(target=time.sleep, args=(600,)).start()
raise UserError("this option is wrong")
"""


def test_a_command_ends_though_its_threads_run_on():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITH_A_BUSY_THREAD],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr == "error: this option is wrong\n"


def test_a_prompt_goes_on_after_an_error():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-i", "-c", WITH_A_BUSY_THREAD.replace("600", "1")],
        input="print('still here')\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "error: this option is wrong" in done.stderr
    assert done.stdout == "still here\n"

"""How a command ends on bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
from fairseq import utils as fairseq_utils

from tiednmt.errors import UserError, explain, one_line_errors, resumable_command

WITH_A_BUSY_THREAD = """
import threading, time
import tiednmt.tasks.user_dir
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


# a program that uses the models, and has an error of its own
PROGRAM = """
import atexit, sys
import tiednmt.translation.loading
print("at the end", file=(results := open(sys.argv[1], "w")))
atexit.register(lambda: print("handlers run"))
open("/no/such/file")
"""


def test_a_program_that_imports_the_plugin_ends_in_its_own_way(tmp_path):
    results = tmp_path / "results.txt"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(results)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" in done.stderr
    assert done.stdout == "handlers run\n"
    assert results.read_text() == "at the end\n"


def raised_by(function):
    with pytest.raises(Exception) as raised:  # noqa: PT011
        function()
    return raised.value


def test_a_defect_while_an_error_of_the_user_is_handled_is_told_as_itself():
    def handled():
        try:
            raise UserError("this option is wrong")
        except UserError:
            return {}["no such key"]

    def replaced():
        try:
            raise UserError("this option is wrong")
        except UserError:
            raise TypeError("a defect") from None

    assert explain(raised_by(handled)) is None
    assert explain(raised_by(replaced)) is None


def test_what_fairseq_wraps_is_told():
    def wrapped():
        try:
            raise UserError("this option is wrong")
        except UserError:
            fairseq_utils.set_torch_seed("no seed")  # an assertion of fairseq's

    assert explain(raised_by(wrapped)) == "this option is wrong"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("wrap", [one_line_errors, resumable_command])
def test_an_interrupted_command_says_so(wrap, number, capsys):
    before = signal.getsignal(signal.SIGTERM)
    command = wrap(lambda: os.kill(os.getpid(), number) or threading.Event().wait(30))
    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 130
    again = "; run the same command again to continue" if wrap is resumable_command else ""
    assert capsys.readouterr().err == f"interrupted{again}\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_lack_of_memory_is_one_line_wherever_it_shows():
    line = explain(raised_by(lambda: torch.empty(2**60)))
    assert line is not None and line.startswith("not enough memory for")


CLOSED = """
import sys
import tiednmt.tasks.user_dir
from tiednmt.errors import UserError
print("more")
raise UserError("this option is wrong")
"""


def test_the_line_is_the_last_where_nobody_reads_stdout():
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:
        command = [sys.executable, "-c", CLOSED]
        environment = {**os.environ, "PYTHONUNBUFFERED": ""}
        to_nobody = {"stdout": closed, "stderr": subprocess.PIPE, "env": environment, "text": True}
        done = subprocess.run(command, **to_nobody)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: this option is wrong"


WITH_A_CHILD = """
import time
from multiprocessing import Process
from tiednmt.errors import one_line_errors

def work():
    print("begun", flush=True)
    time.sleep(60)

@one_line_errors
def main():
    child = Process(target=work)
    child.start()
    try:
        child.join()
    finally:
        child.terminate()
        child.join()

main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_processes_of_an_interrupted_command_print_nothing(number):
    command = subprocess.Popen(
        [sys.executable, "-c", WITH_A_CHILD],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert command.stdout.readline() == "begun\n"
    os.killpg(command.pid, number)
    assert command.communicate()[1] == "interrupted\n"
    assert command.returncode == 130


def test_a_command_runs_in_any_thread():
    done = []
    thread = threading.Thread(target=one_line_errors(lambda: done.append(True)))
    thread.start()
    thread.join()
    assert done

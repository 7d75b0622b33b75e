"""The console command ``tiednmt``."""

import os
import resource
import subprocess
import sys

import pytest

import tiednmt
from tests.test_imports import loaded_by
from tiednmt import cli


def test_help_names_the_commands(capsys):
    cli.main(["--help"])
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in cli.COMMANDS)
    cli.main(["--version"])
    assert capsys.readouterr().out == f"tiednmt {tiednmt.__version__}\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_path_has_help_like_every_command(option, capsys):
    cli.main(["path", option])
    assert "usage: tiednmt path\n" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["nonesuch"], ["path", "x"]], ids=str)
def test_what_it_does_not_know(words):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert "usage: tiednmt COMMAND" in str(ended.value.code)


@pytest.mark.parametrize("words", [["--help"], ["inspect", "--help"], ["path"]], ids=str)
def test_what_is_printed_arrives_or_the_command_fails(words, tmp_path):
    command = [sys.executable, "-c", f"from tiednmt import cli; cli.main({words})"]
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (9, 9))

    with open(tmp_path / "out", "w") as full:
        to_file = {"stdout": full, "stderr": subprocess.PIPE, "env": environment, "text": True}
        done = subprocess.run(command, **to_file, preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr == "error: stdout: cannot be written: File too large\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_may_have_seen_enough(unbuffered):
    command = [sys.executable, "-c", "from tiednmt import cli; cli.main(['--help'])"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:
        to_nobody = {"stdout": closed, "stderr": subprocess.PIPE, "env": environment, "text": True}
        done = subprocess.run(command, **to_nobody)
    assert (done.returncode, done.stderr) == (141, "")  # as of a command that SIGPIPE has ended


@pytest.mark.parametrize("stdout", ["nobody", "none"])
def test_what_is_wrong_with_a_file_is_not_stdouts_fault(stdout, tmp_path):
    command = "from tiednmt.errors import one_line_errors\n"
    command += "@one_line_errors\ndef main():\n    open('missing')\nmain()"
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-c", command],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            preexec_fn=(lambda: os.close(1)) if stdout == "none" else None,
        )
    assert done.stderr == "error: missing: No such file or directory\n"
    assert done.returncode == 1


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_may_lack_characters(encoding):
    command = [sys.executable, "-c", "from tiednmt import cli; cli.main(['--help'])"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"tiednmt COMMAND \\u2026" in done.stdout


HELP = """
    import sys
    from tiednmt import cli
    cli.main({words})
"""


@pytest.mark.parametrize("command", [name for name in cli.COMMANDS if name != "path"])
def test_help_loads_nothing_heavy(command):
    assert loaded_by(HELP.format(words=[command, "--help"])) == {"tiednmt"}

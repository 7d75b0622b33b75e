"""The console command ``tiednmt``."""

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


HELP = """
    import sys
    from tiednmt import cli
    cli.main({words})
"""


@pytest.mark.parametrize("command", [name for name in cli.COMMANDS if name != "path"])
def test_help_loads_nothing_heavy(command):
    assert loaded_by(HELP.format(words=[command, "--help"])) == {"tiednmt"}

"""Translations on stdout that cannot be written."""

import os
import sys
from types import SimpleNamespace

import pytest

from tiednmt.errors import UserError
from tiednmt.translation.streams import translate_to_stdout

ECHO = SimpleNamespace(stream=lambda lines, **_: lines)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("lines", [1, 5000])
def test_a_full_disk_is_one_line(monkeypatch, tmp_path, lines):
    """Be it noticed while lines are printed or when the last are flushed."""
    text = tmp_path / "in.txt"
    text.write_text("a line\n" * lines)
    with open("/dev/full", "w") as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        with pytest.raises(UserError, match=r"^stdout: cannot be written: No space left"):
            translate_to_stdout(ECHO, str(text))
        full.flush()  # what Python does when it ends


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), BrokenPipeError(32, "pipe")])
def test_what_fails_between_the_lines_is_not_stdout_s_fault(tmp_path, error, capsys):
    """The text cannot be read on, or no process can be started: the system names no file."""

    def stream(lines, **_):
        yield next(iter(lines))
        raise error

    (tmp_path / "in.txt").write_text("a line\n" * 2)
    with pytest.raises(OSError, match=r"error|pipe") as raised:
        translate_to_stdout(SimpleNamespace(stream=stream), str(tmp_path / "in.txt"))
    assert raised.value is error
    assert capsys.readouterr().out == "a line\n"


def test_an_input_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(IsADirectoryError) as refused:
        translate_to_stdout(ECHO, str(tmp_path))
    assert str(refused.value.filename) == str(tmp_path)

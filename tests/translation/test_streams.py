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


def test_an_input_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(IsADirectoryError) as refused:
        translate_to_stdout(ECHO, str(tmp_path))
    assert str(refused.value.filename) == str(tmp_path)

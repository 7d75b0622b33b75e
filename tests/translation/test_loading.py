"""Checkpoints with a folder that says what they do not."""

import shutil
import subprocess
import sys

import pytest
import torch

import tiednmt
from tests.support.translators import LINES
from tiednmt.errors import UserError


def test_languages_come_from_the_folder(prepared, checkpoint, tmp_path):
    """fairseq-train without -s and -t stores none, and the folder may hold no text to see them."""
    state = torch.load(checkpoint, weights_only=False)
    state["cfg"]["task"]["source_lang"] = state["cfg"]["task"]["target_lang"] = None
    torch.save(state, tmp_path / "checkpoint.pt")
    found = tiednmt.load(tmp_path / "checkpoint.pt", data=prepared)
    assert found.languages == ("en", "de")
    assert found.translate(LINES) == tiednmt.load(checkpoint, data=prepared).translate(LINES)


LOAD = """
import logging, sys
import tiednmt
tiednmt.load(sys.argv[1])
logging.getLogger("another").warning("no handler of fairseq's")
logging.basicConfig(level=logging.INFO, format="mine: %(message)s")
logging.getLogger("another").debug("unwanted")
logging.getLogger("another").info("wanted")
"""


def test_the_logging_of_a_program_stays_its_own(folder):
    done = subprocess.run([sys.executable, "-c", LOAD, folder], capture_output=True, text=True)
    assert done.stderr == "no handler of fairseq's\nmine: wanted\n"


def test_a_path_that_fairseq_would_cut_is_refused(prepared, checkpoint, tmp_path):
    shutil.copytree(prepared, tmp_path / "a,b")
    assert tiednmt.load(checkpoint, data=tmp_path / "a,b").languages == ("en", "de")
    shutil.copytree(prepared, tmp_path / "a:b")
    with pytest.raises(UserError, match=r"a:b/data-bin: fairseq takes no ':' in a path"):
        tiednmt.load(checkpoint, data=tmp_path / "a:b")


def test_a_data_bin_of_the_current_folder(prepared, checkpoint, monkeypatch):
    expected = tiednmt.load(checkpoint, data=prepared).translate(LINES)
    monkeypatch.chdir(prepared / "data-bin")
    assert tiednmt.load(checkpoint, data=".").translate(LINES) == expected


def test_a_data_bin_stands_for_its_prepared_folder(prepared, checkpoint):
    expected = tiednmt.load(checkpoint, data=prepared).translate(LINES)
    assert tiednmt.load(checkpoint, data=prepared / "data-bin").translate(LINES) == expected

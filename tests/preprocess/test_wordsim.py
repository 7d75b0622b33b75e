"""The word-similarity sets from a folder, and what is refused."""

from __future__ import annotations

import pytest

from preprocess import wordsim
from tiednmt.analysis.word_similarity import SETS
from tiednmt.files import sha256


@pytest.mark.real_data
def test_files_are_those_of_the_collection(data_folder, tmp_path):
    raw = data_folder / "wordsim"
    wordsim.main(["--raw", str(raw), "--dest", str(tmp_path / "sets")])
    found = {path.name: sha256(path) for path in (tmp_path / "sets").iterdir()}
    assert found == wordsim.SHA256
    assert set(SETS.values()) == set(found)


def test_missing_file_is_named(refused, tmp_path):
    message = refused(wordsim.main, tmp_path / "sets", "--raw", tmp_path, "--dest", tmp_path / "s")
    assert "EN-MEN-TR-3k.txt: no such file" in message


def test_what_is_no_address_is_named(refused, tmp_path):
    line = refused(wordsim.main, tmp_path, "--url", "nonsense", "--dest", tmp_path)
    assert "nonsense" in line and "not a web address" in line

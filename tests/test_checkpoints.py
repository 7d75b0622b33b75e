"""Where a checkpoint's dictionaries are: prepared folders of one part and of several, data-bins."""

from __future__ import annotations

import shutil

import pytest
import torch

from tests.support.translators import in_parts, prepared_folder, save_translator
from tests.support.untrained import save_untrained, write_dictionaries
from tiednmt.checkpoints import data_of, read_checkpoint
from tiednmt.errors import CheckpointError, UserError

LM = ("--task", "tied_language_modeling", "--arch", "tied_lstm_lm", "--hidden-size", 6)
LM = (*LM, "--embed-dim", 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared folder of one part, one of two, and a checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoints")
    one = prepared_folder(folder / "one")
    save_translator(folder / "model.pt", one)
    in_parts(prepared_folder(folder / "two"))
    return folder


def found(path, data=None):
    return data_of(path, read_checkpoint(path), data)


@pytest.mark.parametrize(
    ("data", "prepared", "data_bin"),
    [
        ("one", "one", "one/data-bin"),
        ("one/data-bin", "one", "one/data-bin"),
        ("two", "two", "two/data-bin/shard0"),
        ("two/data-bin", "two", "two/data-bin/shard0"),
        ("two/data-bin/shard0", "two", "two/data-bin/shard0"),
        ("two/data-bin/shard1", "two", "two/data-bin/shard1"),
    ],
)
def test_of_a_translation_model(data, prepared, data_bin, folder):
    given = found(folder / "model.pt", folder / data)
    assert (given.prepared, given.data_bin) == (folder / prepared, folder / data_bin)
    assert given.languages == ("en", "de")
    assert [dictionary.symbols[4] for dictionary in given.dictionaries] == ["w0", "w0"]


@pytest.mark.parametrize("names", ["two/data-bin/shard0:two/data-bin/shard1", "one/data-bin"])
def test_of_its_training(names, folder, tmp_path):
    """A checkpoint names all parts, as ``fairseq-train`` is given them."""
    state = torch.load(folder / "model.pt")
    state["cfg"].task.data = ":".join(str(folder / name) for name in names.split(":"))
    torch.save(state, tmp_path / "model.pt")
    given = found(tmp_path / "model.pt")
    assert given.data_bin == folder / names.split(":")[0]
    assert given.prepared == folder / names.split("/")[0]


def test_beside_the_checkpoint(folder, tmp_path):
    """As ``tiednmt vocabulary`` writes it; the folder may be moved."""
    shutil.copytree(folder / "one", tmp_path / "moved")
    shutil.copyfile(folder / "model.pt", tmp_path / "moved" / "model.pt")
    given = found(tmp_path / "moved" / "model.pt")
    assert (given.prepared, given.data_bin) == (tmp_path / "moved", tmp_path / "moved/data-bin")


def test_of_a_language_model(tmp_path):
    """Of the prepared folder or the data-bin; it is no translation corpus."""
    data_bin = write_dictionaries(tmp_path / "data" / "data-bin", "dict.txt", words=["a", "b"])
    save_untrained(tmp_path / "lm.pt", data_bin, *LM)
    for data in (tmp_path / "data", data_bin, None):
        given = found(tmp_path / "lm.pt", data)
        assert (given.prepared, given.data_bin, given.languages) == (None, data_bin, ())
        assert [dictionary.symbols[4:] for dictionary in given.dictionaries] == [["a", "b"]]


def test_refused(folder, tmp_path):
    path = folder / "model.pt"
    with pytest.raises(UserError, match=r"--data .*nowhere: no such folder"):
        found(path, tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no dictionaries \(dict\.\*\.txt\)"):
        found(path, tmp_path)
    other = prepared_folder(tmp_path / "other", words=[f"x{i}" for i in range(33)])
    with pytest.raises(CheckpointError, match=r"other dictionaries than those in .*other/data-bin"):
        found(path, other)
    damaged = other / "data-bin" / "dict.de.txt"
    damaged.write_text("w0 1\nw1\n")
    with pytest.raises(UserError, match=r"dict\.de\.txt: not a dictionary of fairseq") as refused:
        found(path, other)
    assert str(refused.value).count("not a dictionary") == 1
    damaged.unlink()
    with pytest.raises(UserError, match=r"dict\.de\.txt: no such dictionary; .*--data"):
        found(path, other)


def test_languages_that_nothing_says(folder, tmp_path):
    """Of a training without -s and -t, where the data-bin has dictionaries alone."""
    state = torch.load(folder / "model.pt")
    state["cfg"].task.source_lang = None
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"does not say which languages .* has de, en; train with"):
        found(tmp_path / "model.pt")
    shutil.copytree(folder / "one", tmp_path / "one")
    (tmp_path / "one" / "data-bin" / "train.en-de.en.idx").touch()
    assert found(tmp_path / "model.pt", tmp_path / "one").languages == ("en", "de")

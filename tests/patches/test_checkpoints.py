"""Checkpoints are written whole, and what is not as fairseq saved it is refused in one line."""

from __future__ import annotations

import argparse
import math
import re
import resource
import signal

import numpy
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager
from omegaconf import OmegaConf

import tiednmt.plugin  # noqa: F401
from tests.support import commandline
from tests.support.small_training import train
from tests.support.untrained import load_built
from tiednmt.averaging import average
from tiednmt.checkpoints import read_checkpoint
from tiednmt.errors import UserError, explain


def test_types_of_checkpoints_are_let_in_and_no_others(tmp_path):
    state = {
        "args": argparse.Namespace(lr=[0.1]),
        "cfg": OmegaConf.create({"model": {"_name": "tied_gru", "dropout": 0.1, "sizes": [1, 2]}}),
        "meters": [numpy.zeros(3), numpy.float64(2.0), numpy.int64(3)],
    }
    torch.save(state, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt")
    assert loaded["args"] == state["args"] and loaded["cfg"] == state["cfg"]
    assert loaded["meters"][1:] == [2.0, 3]
    torch.save({"hostile": print}, tmp_path / "other.pt")
    with pytest.raises(Exception, match="print"):
        torch.load(tmp_path / "other.pt")


def first(state):
    return next(name for name, w in state["model"].items() if w.is_floating_point())


FORMS = {
    "no model": lambda state: state.pop("model"),
    "a list for a model": lambda state: state.update(model=[1, 2]),
    "a list for a matrix": lambda state: state["model"].update({first(state): [1.0]}),
    "None for a matrix": lambda state: state["model"].update({first(state): None}),
    "a sparse matrix": lambda state: state["model"].update(
        {first(state): torch.eye(3).to_sparse()}
    ),
    "NaN": lambda state: state["model"][first(state)].view(-1)[0].fill_(math.nan),
    "infinity": lambda state: state["model"][first(state)].view(-1)[0].fill_(math.inf),
    "no configuration": lambda state: state.update(cfg={}),
    "text for a configuration": lambda state: state.update(cfg="tied_gru"),
    "updates in words": lambda state: state["optimizer_history"][-1].update(num_updates="many"),
    "updates below zero": lambda state: state["optimizer_history"][-1].update(num_updates=-1),
    "a number for the task's state": lambda state: state.update(task_state=0.5),
    "nothing for the task's state": lambda state: state.update(task_state=None),
    "text for the place in the data": lambda state: state.update(extra_state="here"),
    "text for a history": lambda state: state.update(optimizer_history="adam"),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_fairseq_does_not_save_is_refused(form, changed):
    path = changed(FORMS[form])
    with pytest.raises(UserError, match=r"changed\.pt: "):
        read_checkpoint(path)
    with pytest.raises(UserError, match=r"changed\.pt: "):
        average([path])


def test_a_checkpoint_without_options_is_named(changed, data):
    path = changed(lambda state: state.update(cfg=None, args=None))
    with pytest.raises(RuntimeError) as raised:
        load_built(path, data)
    assert "changed.pt: holds no configuration" in (explain(raised.value) or "")


def test_a_size_in_words_is_refused(changed, data):
    path = changed(lambda state: state["cfg"]["model"].update(embed_dim="wide"))
    with pytest.raises(UserError, match=r"changed\.pt"):
        load_built(path, data)


def test_a_file_is_named_once(changed, data):
    with pytest.raises(UserError) as raised:
        load_built(changed(FORMS["NaN"]), data)
    assert explain(raised.value).count("changed.pt") == 1


def test_a_flipped_bit_is_seen_by_every_reader(good, tmp_path):
    content = bytearray(good.read_bytes())
    content[len(content) // 3] ^= 4
    (tmp_path / "flipped.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"flipped\.pt: .*damaged"):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "flipped.pt"))


def test_a_copy_that_fails_leaves_the_checkpoint_before_it(tmp_path):
    old, new = tmp_path / "checkpoint_last.pt", tmp_path / "checkpoint_1_2.pt"
    old.write_bytes(b"old")
    new.write_bytes(bytes(100_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # as on a full disk
        with pytest.raises(OSError, match="File too large"):
            PathManager.copy(str(new), str(old), overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert old.read_bytes() == b"old"
    assert set(tmp_path.iterdir()) == {old, new}
    assert PathManager.copy(str(new), str(old), overwrite=True)
    assert old.read_bytes() == new.read_bytes()


@pytest.mark.slow
def test_a_refused_training_leaves_no_folder(data, tmp_path):
    """Neither the one it was told nor those above it; one that was there stays."""
    new, there = tmp_path / "new", tmp_path / "there"
    there.mkdir()
    for save_dir in (new / "folder", there, there / "inner"):
        done = commandline.train(data, save_dir, "--projection-penalty", -1)
        assert done.status != 0 and "--projection-penalty -1" in done.stderr
    assert list(tmp_path.iterdir()) == [there] and not list(there.iterdir())


@pytest.mark.parametrize("others", [True, False])
def test_as_many_of_the_best_are_kept_as_wanted(others, data, tmp_path):
    """Of three, the first of which is the best: fairseq keeps that alone."""
    options = {
        "best_checkpoint_metric": "num_updates",
        "keep_best_checkpoints": 2,
        "no_last_checkpoints": not others,
    }
    train(
        data, tmp_path, checkpoint=options, dataset={"batch_size": 8}, optimization={"max_epoch": 3}
    )
    kept = sorted(tmp_path.glob("checkpoint.best_num_updates_*.pt"))
    assert [re.search(r"_(\d+)\.", file.name)[1] for file in kept] == ["2", "4"]
    assert [torch.load(file)["extra_state"]["val_loss"] for file in kept] == [2, 4]


def test_the_last_checkpoint_of_its_own_folder_may_not_be_there_yet(data, tmp_path):
    """The first run begins; the second resumes, where one more update would be too many."""
    own = tmp_path / "checkpoint_last.pt"
    start = {"restore_file": str(own), "save_interval_updates": 1}
    for updates in (2, 1):
        last = train(data, tmp_path, checkpoint=start, optimization={"max_update": updates})
        assert own.is_file()
        assert read_checkpoint(last)["optimizer_history"][-1]["num_updates"] == 2

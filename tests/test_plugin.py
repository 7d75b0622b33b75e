"""What the plugin mends in fairseq: each patch does what it says, once, however often applied."""

from __future__ import annotations

import argparse
import resource
import signal
import sys

import numpy
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.data import ListDataset
from fairseq.dataclass.configs import FairseqConfig
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.optim.adam import Adam
from fairseq.trainer import Trainer
from omegaconf import OmegaConf

from tiednmt import plugin
from tiednmt.errors import UserError

PATCHES = {
    plugin.allow_fairseq_types: lambda: set(torch.serialization.get_safe_globals()),
    plugin.make_checkpoint_copies_atomic: lambda: PathManager.copy,
    plugin.load_components_of_tied_models: lambda: (
        checkpoint_utils.load_pretrained_component_from_model
    ),
    plugin.patch_numpy_compat: lambda: numpy.compat,
    plugin.show_averages_beside_training: lambda: Trainer.train_step,
    plugin.update_in_few_launches: lambda: Adam.step,
    plugin.explain_uncaught_errors: lambda: sys.excepthook,
}


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.__name__)
def test_each_may_be_applied_any_number_of_times(patch, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # what a test leaves is restored
    patch()
    once = PATCHES[patch]()
    patch()
    assert PATCHES[patch]() == once


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


def test_datasets_of_single_sentences_find_numpys_old_number():
    data = ListDataset([torch.zeros(2), torch.zeros(3)], sizes=numpy.array([2, 3]))
    assert data.num_tokens(1) == 3
    assert numpy.compat.long is int


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        ("--pipeline-model-parallel", {"distributed_training": {"pipeline_model_parallel": True}}),
        ("--model-parallel-size", {"common": {"model_parallel_size": 2}}),
        (
            "--ddp-backend fully_sharded",
            {"distributed_training": {"ddp_backend": "fully_sharded"}},
        ),
        ("--find-unused-parameters", {"distributed_training": {"find_unused_parameters": True}}),
    ],
)
def test_parallelism_that_is_refused(option, changes):
    cfg = OmegaConf.structured(FairseqConfig)
    cfg = OmegaConf.merge(OmegaConf.to_container(cfg), changes)
    began = []
    with pytest.raises(UserError, match=f"^{option}: a model of --arch tied_gru "):
        cfg.model = {"_name": "tied_gru"}
        distributed_utils.call_main(cfg, began.append)
    assert not began


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

"""A corpus, a checkpoint of it, and checkpoints that differ from it."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf

from tests.support.small_training import SIZES, write_corpus
from tests.support.untrained import save_untrained


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def good(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "good.pt"
    save_untrained(path, data, "--task", "translation", *SIZES)
    return path


@pytest.fixture
def changed(good, tmp_path, monkeypatch):
    """Saves the good checkpoint with a change, in the folder that the test runs in."""
    monkeypatch.chdir(tmp_path)

    def save(change):
        state = torch.load(good)
        state["cfg"] = OmegaConf.to_container(state["cfg"])  # as fairseq-train saves it
        change(state)
        torch.save(state, tmp_path / "changed.pt")
        return tmp_path / "changed.pt"

    return save

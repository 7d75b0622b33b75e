"""No checkpoint runs code, and no text that a checkpoint or a path holds."""

from __future__ import annotations

import argparse
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from fairseq import utils
from fairseq.data.fasta_dataset import FastaDataset
from fairseq.models import MODEL_REGISTRY

from tests.support.untrained import load_built
from tiednmt.checkpoints import read_checkpoint
from tiednmt.errors import UserError
from tiednmt.patches import foreign_code

RUNS = "__import__('os').mkdir('RAN')"


def test_a_good_checkpoint_is_built(good, data):
    (model,), _, _ = load_built(good, data)
    assert type(model).__name__ == "TiedGRUModel"


def hostile(name):
    """Options of an architecture whose builder evaluates them."""
    return argparse.Namespace(
        **dict.fromkeys(("encoder_embed_path", "decoder_embed_path")),
        **dict.fromkeys(("encoder_layers", "decoder_layers", "decoder_attention"), RUNS),
        **dict.fromkeys(("pretrained", "encoder_attention", "self_attention"), RUNS),
        **name,
    )


@pytest.mark.parametrize(
    "name",
    [
        {"_name": "fconv", "arch": "fconv"},
        {"arch": "fconv"},
        {"_name": "", "arch": "fconv_iwslt_de_en"},
        {"_name": "fconv_self_att", "arch": "tied_gru"},
        {"_name": "fconv_lm", "arch": None},
        {"_name": "wav2vec2"},
    ],
    ids=str,
)
@pytest.mark.parametrize("key", ["cfg", "args"])
def test_architectures_come_from_a_list(name, key, changed, data):
    def change(state):
        if key == "cfg":
            state["cfg"]["model"] = hostile(name)
        else:
            state["cfg"], state["args"] = None, hostile({**name, "task": "translation"})

    path = changed(change)
    with pytest.raises(Exception) as raised:  # noqa: PT011  old options fail in several ways
        load_built(path, data)
    assert not os.path.exists("RAN")
    if key == "cfg":
        assert isinstance(raised.value, UserError) and "changed.pt" in str(raised.value)


def test_stock_models_are_on_the_list_and_none_that_evaluates():
    assert set(foreign_code.STOCK_MODELS) <= MODEL_REGISTRY.keys()
    for name in ("fconv", "fconv_lm", "fconv_self_att", "wav2vec", "hubert", "transformer_ulm"):
        assert name not in MODEL_REGISTRY or not foreign_code.is_known(MODEL_REGISTRY[name])
    assert foreign_code.is_known(MODEL_REGISTRY["tied_gru"])
    assert foreign_code.is_known(MODEL_REGISTRY["transformer"])


def test_strings_that_a_stock_builder_evaluates_must_be_literals(changed, data):
    def change(state):
        state["cfg"]["model"] = argparse.Namespace(
            arch="lstm", _name="lstm", adaptive_softmax_cutoff=RUNS, decoder_attention=RUNS
        )

    path = changed(change)
    with pytest.raises(UserError):
        load_built(path, data)
    assert not os.path.exists("RAN")


def source(module):
    path = Path(module.__file__ or "")
    return path.read_text(encoding="utf-8") if path.suffix == ".py" else ""


def test_every_module_of_fairseq_reads_literals():
    theirs = {name: module for name, module in sys.modules.items() if name.startswith("fairseq.")}
    evaluate = [name for name, module in theirs.items() if "eval(" in source(module)]
    assert len(evaluate) > 5
    assert [name for name in evaluate if not hasattr(theirs[name], "eval")] == []
    assert utils.eval_str_list("1e-4,2") == [0.0001, 2.0]
    assert utils.eval_bool("True") is True and utils.eval_bool(True) is False


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("RAN",)


@pytest.mark.parametrize("old", [False, True])
def test_the_environment_does_not_let_pickles_run(old, good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    state = {"model": Hostile(), "cfg": None}
    torch.save(state, "hostile.pt", _use_new_zipfile_serialization=not old)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(state))
    for name in ("hostile.pt", "bare.pt"):
        with pytest.raises(UserError, match=name):
            read_checkpoint(tmp_path / name)
    assert not os.path.exists("RAN")


def test_names_of_files_reach_no_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a;mkdir RAN;.fasta").write_text(">x\nACGT\n")
    with pytest.raises(UserError, match="fasta"):
        FastaDataset("a;mkdir RAN;")
    assert not os.path.exists("RAN")

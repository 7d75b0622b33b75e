"""No checkpoint runs code, and one that is not as fairseq saved it is refused in one line."""

from __future__ import annotations

import argparse
import math
import os
import pickle
import sys

import pytest
import torch
from fairseq import checkpoint_utils, models, utils
from fairseq.data.fasta_dataset import FastaDataset
from fairseq.models import MODEL_REGISTRY
from omegaconf import OmegaConf

from tests.support.small_training import SIZES, write_corpus
from tests.support.untrained import save_untrained
from tiednmt import guards
from tiednmt.averaging import average
from tiednmt.checkpoints import read_checkpoint
from tiednmt.errors import UserError, explain

RUNS = "__import__('os').mkdir('RAN')"
PATCHED = {
    guards.check_checkpoints: lambda: checkpoint_utils.load_checkpoint_to_cpu,
    guards.build_known_architectures: lambda: (
        checkpoint_utils.load_model_ensemble_and_task,
        models.build_model,
    ),
    guards.read_literals_only: lambda: vars(utils)["eval"],
    guards.refuse_fasta: lambda: FastaDataset._build_index.__name__,
}


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


def build(path, data):
    return checkpoint_utils.load_model_ensemble_and_task([str(path)], {"data": str(data)})


@pytest.mark.parametrize("patch", PATCHED, ids=lambda patch: patch.__name__)
def test_each_may_be_applied_any_number_of_times(patch):
    patch()
    once = PATCHED[patch]()
    patch()
    assert PATCHED[patch]() == once


def test_a_good_checkpoint_is_built(good, data):
    (model,), _, _ = build(good, data)
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
        build(path, data)
    assert not os.path.exists("RAN")
    if key == "cfg":
        assert isinstance(raised.value, UserError) and "changed.pt" in str(raised.value)


def test_stock_models_are_on_the_list_and_none_that_evaluates():
    assert set(guards.STOCK_MODELS) <= MODEL_REGISTRY.keys()
    for name in ("fconv", "fconv_lm", "fconv_self_att", "wav2vec", "hubert", "transformer_ulm"):
        assert name not in MODEL_REGISTRY or not guards.is_known(MODEL_REGISTRY[name])
    assert guards.is_known(MODEL_REGISTRY["tied_gru"])
    assert guards.is_known(MODEL_REGISTRY["transformer"])


def test_strings_that_a_stock_builder_evaluates_must_be_literals(changed, data):
    def change(state):
        state["cfg"]["model"] = argparse.Namespace(
            arch="lstm", _name="lstm", adaptive_softmax_cutoff=RUNS, decoder_attention=RUNS
        )

    path = changed(change)
    with pytest.raises(UserError):
        build(path, data)
    assert not os.path.exists("RAN")


def test_every_module_of_fairseq_reads_literals():
    for name, module in sys.modules.items():
        if name.startswith("fairseq."):
            assert hasattr(module, "eval"), name
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
        build(path, data)
    assert "changed.pt: holds no configuration" in (explain(raised.value) or "")


def test_a_size_in_words_is_refused(changed, data):
    path = changed(lambda state: state["cfg"]["model"].update(embed_dim="wide"))
    with pytest.raises(UserError, match=r"changed\.pt"):
        build(path, data)


def test_a_file_is_named_once(changed, data):
    with pytest.raises(UserError) as raised:
        build(changed(FORMS["NaN"]), data)
    assert explain(raised.value).count("changed.pt") == 1


def test_a_flipped_bit_is_seen_by_every_reader(good, tmp_path):
    content = bytearray(good.read_bytes())
    content[len(content) // 3] ^= 4
    (tmp_path / "flipped.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"flipped\.pt: .*damaged"):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "flipped.pt"))

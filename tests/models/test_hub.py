"""``from_pretrained``: fairseq's interface to a trained model, with this package's search."""

from __future__ import annotations

import os

import pytest
import torch

import tiednmt.plugin  # noqa: F401
from tests.support.untrained import save_untrained, write_dictionaries
from tiednmt.errors import UserError
from tiednmt.models.tied_gru import TiedGRUModel
from tiednmt.models.tied_lstm_lm import TiedLSTMLanguageModel
from tiednmt.modules.frozen_linear import Int8Linear, PackedLinear, TransposedLinear
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator
from tiednmt.tasks.tied_translation import TiedTranslationTask

WORDS = [f"w{i}" for i in range(30)]
SENTENCES = ["w3 w7 w1", "w20", "w5 w5 w9 w11 w2"]
GRU = (
    *("--arch", "tied_gru", "--tying", "three-way", "--embed-dim", 16, "--dropout", 0.1),
    *("--encoder-hidden-size", 12, "--decoder-hidden-size", 20, "--attention-size", 8),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two translation models of one data-bin, and a copy of its dictionaries elsewhere."""
    folder = tmp_path_factory.mktemp("hub")
    for name in ("data", "elsewhere"):
        write_dictionaries(folder / name, "dict.en.txt", "dict.de.txt", words=WORDS)
    task = ("--task", "translation", "--source-lang", "en", "--target-lang", "de")
    for name, seed in (("one.pt", 1), ("two.pt", 2)):
        save_untrained(folder / name, folder / "data", *task, *GRU, seed=seed)
    return folder


def load(folder, checkpoint="one.pt", data="data", **options):
    return TiedGRUModel.from_pretrained(str(folder), checkpoint, str(folder / data), **options)


def generated(hub, **options):
    """The best hypothesis of each sentence, as tokens and score."""
    sentences = [hub.encode(sentence) for sentence in SENTENCES]
    beams = hub.generate(sentences, beam=3, max_len_b=9, **options)
    return [(beam[0]["tokens"].tolist(), float(beam[0]["score"])) for beam in beams]


def searches_of(monkeypatch):
    """Which of the two searches ran, in order."""
    ran = []
    ours, theirs = TiedSequenceGenerator._search, TiedSequenceGenerator.__mro__[1]._generate

    def note(name, search):
        return lambda *args, **kwargs: ran.append(name) or search(*args, **kwargs)

    monkeypatch.setattr(TiedSequenceGenerator, "_search", note("ours", ours))
    monkeypatch.setattr(TiedSequenceGenerator.__mro__[1], "_generate", note("fairseq's", theirs))
    return ran


def test_it_translates_with_the_search_of_this_package(folder, monkeypatch):
    ran = searches_of(monkeypatch)
    fast = generated(load(folder))
    assert ran == ["ours"]
    stock = load(folder, task="translation")
    assert not isinstance(stock.task, TiedTranslationTask)
    assert ran[1:] == []
    expected = generated(stock)
    assert ran[1:] == ["fairseq's"]
    assert [tokens for tokens, _ in fast] == [tokens for tokens, _ in expected]
    assert [s for _, s in fast] == pytest.approx([s for _, s in expected], abs=1e-5)


def test_the_task_may_be_named(folder, monkeypatch):
    ran = searches_of(monkeypatch)
    generated(load(folder, task="tied_translation"))
    assert ran == ["ours"]


def frozen_kinds(hub):
    """How V is multiplied, after a translation."""
    generated(hub)
    with torch.no_grad():
        layer = hub.models[0].output_layer
        return type(layer.frozen(layer.embedding.weight, layer.bias))


@pytest.mark.parametrize(
    "options",
    [
        {"int8": True},
        {"task_overrides": {"int8": True}},
        {"task": "tied_translation", "task_overrides": {"int8": True}},
    ],
    ids=str,
)
def test_int8_weights(folder, options):
    hub = load(folder, **options)
    assert frozen_kinds(hub) is Int8Linear
    exact, rounded = generated(load(folder)), generated(hub)
    assert rounded != exact
    assert [s for _, s in rounded] == pytest.approx([s for _, s in exact], rel=0.05)


def test_without_it_weights_are_packed_where_onednn_packs(folder):
    if PackedLinear.of(torch.ones(1, 1)) is None:
        pytest.skip("torch has no oneDNN on this machine")
    assert frozen_kinds(load(folder)) in (PackedLinear, TransposedLinear)


def test_an_option_that_the_task_lacks_is_refused(folder):
    with pytest.raises(UserError, match="task translation has no option int8"):
        load(folder, task="translation", int8=True)
    with pytest.raises(UserError, match="task tied_translation has no option int9"):
        load(folder, task_overrides={"int9": True})
    with pytest.raises(UserError, match="no task nonesuch"):
        load(folder, task="nonesuch")


def test_the_dictionaries_are_those_of_the_folder_given(folder, tmp_path):
    hub = load(folder, data="elsewhere")
    assert hub.task.cfg.data == str(folder / "elsewhere")
    generated(hub)
    write_dictionaries(tmp_path / "other", "dict.en.txt", "dict.de.txt", words=WORDS[::-1])
    with pytest.raises(UserError, match="other dictionaries"):
        load(folder, data=tmp_path / "other")


def test_other_overrides_are_fairseqs(folder):
    hub = load(folder, generation_args={"lenpen": 0.5}, left_pad_source=False)
    assert hub.cfg.generation.lenpen == 0.5
    assert hub.task.cfg.left_pad_source is False
    assert generated(hub) == generated(load(folder), lenpen=0.5)


def test_several_checkpoints_are_an_ensemble(folder, monkeypatch):
    both = load(folder, os.pathsep.join(("one.pt", "two.pt")))
    assert len(both.models) == 2
    ran = searches_of(monkeypatch)
    joined = generated(both)
    assert ran == ["ours"]
    assert joined not in (generated(load(folder)), generated(load(folder, "two.pt")))
    twice = load(folder, os.pathsep.join(("one.pt", "one.pt")))
    for (tokens, score), (expected, exact) in zip(
        generated(twice), generated(load(folder)), strict=True
    ):
        assert tokens == expected
        assert score == pytest.approx(exact, abs=1e-5)


def loss_of(model):
    inputs = {
        "src_tokens": torch.tensor([[5, 9, 7, 2]]),
        "src_lengths": torch.tensor([4]),
        "prev_output_tokens": torch.tensor([[2, 11, 12]]),
    }
    return model(**inputs)[0].logsumexp(-1).sum()


def test_gradients_are_those_of_a_model_just_built(folder):
    hub = load(folder)
    generated(hub)
    model = hub.models[0]
    fresh = TiedGRUModel.build(hub.cfg.model, hub.src_dict, hub.tgt_dict).eval()
    fresh.load_state_dict(model.state_dict())
    gradients, expected = (
        torch.autograd.grad(loss_of(one), list(one.parameters()), allow_unused=True)
        for one in (model, fresh)
    )
    assert all(map(torch.equal, gradients, expected))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("int8", [False, True])
def test_one_object_serves_checkpoint_after_checkpoint(folder, int8):
    hub, other = load(folder, int8=int8), load(folder, "two.pt", int8=int8)
    assert generated(hub) != generated(other)
    hub.models[0].load_state_dict(other.models[0].state_dict())
    assert generated(hub) == generated(other)
    with torch.no_grad():
        for parameter in hub.models[0].parameters():
            parameter.zero_()
    assert len({score for _, score in generated(hub)}) == 1  # every token is as likely as another


def test_dropout_is_retained_where_it_is_asked_for(folder):
    hub = load(folder, retain_dropout=True)
    scores = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        scores.append(generated(hub))
    assert scores[0] == scores[1] != scores[2]


def test_a_language_model_continues(tmp_path):
    write_dictionaries(tmp_path / "data", "dict.txt", words=WORDS)
    options = ("--task", "language_modeling", "--arch", "tied_lstm_lm", "--tying", "decoder")
    sizes = ("--embed-dim", 8, "--hidden-size", 8, "--dropout", 0.5)
    save_untrained(tmp_path / "lm.pt", tmp_path / "data", *options, *sizes)
    data = str(tmp_path / "data")
    hub = TiedLSTMLanguageModel.from_pretrained(str(tmp_path), "lm.pt", data)
    texts = hub.sample(SENTENCES, beam=2, max_len_b=9)
    assert all(text.startswith(given) for text, given in zip(texts, SENTENCES, strict=True))
    retained = TiedLSTMLanguageModel.from_pretrained(
        str(tmp_path), "lm.pt", data, retain_dropout=True
    )
    scores = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        scores.append(retained.score(SENTENCES)[0]["score"].item())
    assert scores[0] == scores[1] != scores[2]
    with pytest.raises(UserError, match="task language_modeling has no option int8"):
        TiedLSTMLanguageModel.from_pretrained(str(tmp_path), "lm.pt", data, int8=True)

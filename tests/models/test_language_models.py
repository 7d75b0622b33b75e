"""The language models: their sizes, their start, loss over carried windows."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq.models import ARCH_CONFIG_REGISTRY
from omegaconf import OmegaConf

from tests.support.small_models import dictionary
from tiednmt.criterions.tied_cross_entropy import TiedCrossEntropy, TiedCrossEntropyConfig
from tiednmt.errors import UserError
from tiednmt.models.tied_lstm_lm import TiedLSTMLanguageModel, TiedLSTMLanguageModelConfig
from tiednmt.models.tied_rhn_lm import TiedRHNLanguageModel, TiedRHNLanguageModelConfig
from tiednmt.models.tied_transformer_lm import (
    TiedTransformerLanguageModel,
    TiedTransformerLanguageModelConfig,
)
from tiednmt.modules import CarriedState
from tiednmt.tasks.streams import StreamWindows, TokenStream
from tiednmt.tasks.tied_language_modeling import attach

WORDS = dictionary(f"w{i}" for i in range(17))
MODELS = {
    "lstm": (TiedLSTMLanguageModel, TiedLSTMLanguageModelConfig, {"layers": 2}),
    "rhn": (TiedRHNLanguageModel, TiedRHNLanguageModelConfig, {"depth": 3}),
    "transformer": (
        TiedTransformerLanguageModel,
        TiedTransformerLanguageModelConfig,
        {"decoder_layers": 2, "decoder_attention_heads": 2, "attention_span": 5},
    ),
}


def model(name="lstm", words=WORDS, **options):
    kind, config, sizes = MODELS[name]
    small = {"embed_dim": 6, "hidden_size": 6, **sizes, **options}
    torch.manual_seed(5)
    return kind.build(OmegaConf.create({**vars(config()), **small}), None, words)


def ptb_model(name="lstm", arch=None, **options):
    """A model over the 10,000 types of PTB and fairseq's two more."""
    words = dictionary(str(i) for i in range(9998))
    assert len(words) == 10_002
    arguments = SimpleNamespace(**options)
    if arch:
        ARCH_CONFIG_REGISTRY[arch](arguments)
    with torch.device("meta"):
        kind, config, _ = MODELS[name]
        return kind.build(OmegaConf.create({**vars(config()), **vars(arguments)}), None, words)


class Sentence(list):
    sizes = property(lambda self: np.array([len(part) for part in self]))


@pytest.mark.parametrize("tying", ["inputs", "three-way"])
def test_there_is_no_source_to_tie(tying):
    with pytest.raises(UserError, match="no source embedding; use --tying decoder"):
        model(tying=tying)


# Press & Wolf (2017), tables 4 and 5, in millions
@pytest.mark.parametrize(
    ("millions", "name", "arch", "options"),
    [
        (4.65, "lstm", "tied_lstm_lm_small", {}),
        (2.65, "lstm", "tied_lstm_lm_small", {"tying": "decoder"}),
        (4.69, "lstm", "tied_lstm_lm_small", {"projection": True}),
        (2.69, "lstm", "tied_lstm_lm_small", {"tying": "decoder", "projection": True}),
        (66, "lstm", "tied_lstm_lm_large", {}),
        (51, "lstm", "tied_lstm_lm_large", {"tying": "decoder"}),
        (24, "lstm", "tied_lstm_lm_awd", {"tying": "decoder"}),  # Merity et al. (2018)
        (32, "rhn", None, {}),
        (23.5, "rhn", None, {"tying": "decoder"}),  # "24M"
    ],
)
def test_sizes_of_the_paper(millions, name, arch, options):
    total = sum(p.numel() for p in ptb_model(name, arch, **options).parameters()) / 1e6
    assert total == pytest.approx(millions, abs=0.005 if millions < 5 else 0.5)


def test_size_of_the_small_model_to_the_parameter():
    lstm = 2 * (4 * 200 * (200 + 200) + 2 * 4 * 200)
    total = sum(p.numel() for p in ptb_model(arch="tied_lstm_lm_small").parameters())
    assert total == 2 * 10_002 * 200 + 10_002 + lstm


class TestStart:
    @pytest.mark.parametrize("tying", ["none", "decoder"])
    def test_every_parameter_is_uniform(self, tying):
        large = model(tying=tying, projection=True, embed_dim=64, hidden_size=48, init_range=0.3)
        for name, parameter in large.named_parameters():
            assert parameter.abs().max() <= 0.3, name
            if parameter.numel() > 100:
                assert parameter.std().item() == pytest.approx(0.3 / math.sqrt(3), rel=0.2), name

    def test_highway_gates_are_nearly_shut(self):
        network = model("rhn", transform_bias=-3.0).decoder.network
        for layer in network.layers:
            assert (layer.bias[6:] == -3).all()
            assert (layer.bias[:6].abs() <= 0.04).all()


def corpus(tokens=61, seed=2):
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(4, len(WORDS), (tokens,), generator=generator)
    return TokenStream(Sentence(text.split(7)), "corpus")


def corpus_loss(built, tokens, streams, window):
    """Summed NLL by our criterion over all windows."""
    config = OmegaConf.create({**vars(TiedCrossEntropyConfig()), "sentence_avg": False})
    config.update_freq = [1]
    task = SimpleNamespace(target_dictionary=WORDS)
    criterion = TiedCrossEntropy(config, task)
    carried, total = CarriedState(), 0.0
    windows = StreamWindows(tokens, streams, 1, window, WORDS.eos())
    for i in range(len(windows)):
        batch = windows[i]
        attach(batch, carried)
        loss, sample_size, _ = criterion(built, batch)
        assert sample_size == batch["ntokens"]
        total += loss.item()
    return total


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("streams", [1, 3])
def test_windows_of_any_length_give_one_loss(name, streams):
    built = model(name, tying="decoder", projection=True, hidden_size=5).double().eval()
    tokens = corpus()
    whole = corpus_loss(built, tokens, streams, len(tokens) // streams)
    for window in (1, 4, 20):
        assert corpus_loss(built, tokens, streams, window) == pytest.approx(whole, rel=1e-12)


def test_an_epoch_starts_with_an_empty_state():
    carried, windows = CarriedState(), StreamWindows(corpus(), 3, 1, 4, WORDS.eos())
    for first in (True, False, True):
        attach(windows[0 if first else 1], carried)
        assert (carried.state is None) == first
        carried.keep((torch.ones(1, 3, 6),))


@pytest.mark.parametrize("name", MODELS)
def test_the_state_is_read_where_the_window_is(name):
    """fairseq-eval-lm and scripts.perplexity bring a window to the GPU after it was read."""
    built, carried = model(name).eval().to("meta"), CarriedState()
    windows = StreamWindows(corpus(), 3, 1, 4, WORDS.eos())
    for i in range(3):
        batch = windows[i]
        attach(batch, carried)
        built(batch["net_input"]["src_tokens"].to("meta"), carried=carried, features_only=True)
        assert all(part.is_meta for part in carried.state)
    carried.keep(tuple(torch.zeros(part.shape) for part in carried.state))  # out of a checkpoint
    built(torch.zeros(3, 4, dtype=torch.long, device="meta"), carried=carried, features_only=True)


@pytest.mark.parametrize("name", ["lstm", "rhn"])
def test_a_loop_over_the_text_gives_the_same_loss(name):
    built = model(name).double().eval()
    tokens = corpus()
    text = tokens.read(0, len(tokens))
    previous, state, nll = WORDS.eos(), None, 0.0
    for token in text:
        outputs, state = built.decoder.network(
            built.embeddings.target.weight[previous].view(1, 1, -1), state
        )
        scores = built.embeddings.output.embedding.weight @ outputs[0, 0] + built.output_layer.bias
        nll -= torch.log_softmax(scores, 0)[token].item()
        previous = token
    assert corpus_loss(built, tokens, 1, 10) == pytest.approx(nll, rel=1e-12)


def test_masks_of_bayesian_dropout_hold_for_the_window():
    built = model(dropout=0.5, variational_dropout=True, embed_dim=64, hidden_size=64)
    with torch.no_grad():
        for parameter in built.decoder.network.parameters():
            parameter.zero_()
        for layer in built.decoder.network.layers:
            layer.bias_ih_l0.fill_(1.0)
    features, _ = built(torch.full((2, 9), 5), features_only=True)
    kept = features != 0
    assert (kept == kept[:, :1]).all()
    assert 0 < kept.float().mean() < 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm", {"dropout": 0.5, "hidden_dropout": 0.0}),
        ("lstm", {"hidden_dropout": 0.5}),
        ("lstm", {"recurrent_dropout": 0.5}),
        ("lstm", {"weight_dropout": 0.5}),
        ("lstm", {"word_dropout": 0.5}),
        ("rhn", {"recurrent_dropout": 0.5}),
        ("transformer", {"attention_dropout": 0.5}),
        ("transformer", {"activation_dropout": 0.5}),
    ],
    ids=str,
)
def test_each_dropout_has_an_option(name, options):
    tokens = torch.tensor([[5, 6, 7, 8, 9]] * 2)
    built = model(name, **{"dropout": 0.0, **options}).train()
    assert not torch.equal(built(tokens)[0], built(tokens)[0])
    assert torch.equal(built.eval()(tokens)[0], built(tokens)[0])
    still = model(name, dropout=0.0).train()
    assert torch.equal(still(tokens)[0], still(tokens)[0])


def test_a_single_bias_per_gate():
    sizes = [
        sum(p.numel() for p in model(single_bias=single, layers=2).decoder.network.parameters())
        for single in (False, True)
    ]
    assert sizes[0] - sizes[1] == 2 * 4 * 6  # layers, gates, numbers


@pytest.mark.parametrize("option", ["dropout", "word_dropout"])
def test_what_is_looked_up_is_dropped_before_the_network_reads_it(option):
    built, read = model(layers=1, **{"dropout": 0.0, option: 0.5}).train(), []
    built.decoder.network.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    for _ in range(8):  # a mask of few words may be drawn twice
        built(torch.tensor([[5, 6, 7, 8, 9]] * 2))
    assert any(not torch.equal(read[0], other) for other in read[1:])


# Zaremba et al. (2014), section 4.1; Merity et al. (2018), section 5, and its released command
PRESETS = {
    "tied_lstm_lm_small": {"hidden_size": 200, "layers": 2, "dropout": 0.0, "init_range": 0.1},
    "tied_lstm_lm_medium": {"hidden_size": 650, "layers": 2, "dropout": 0.5, "init_range": 0.05},
    "tied_lstm_lm_large": {"hidden_size": 1500, "layers": 2, "dropout": 0.65, "init_range": 0.04},
    "tied_lstm_lm_awd": {
        **{"embed_dim": 400, "hidden_size": 1150, "last_hidden_size": 400, "layers": 3},
        **{"dropout": 0.4, "hidden_dropout": 0.25, "word_dropout": 0.1, "weight_dropout": 0.5},
        **{"variational_dropout": True},
        **{"activation_penalty": 2.0, "temporal_activation_penalty": 1.0},
    },
}


@pytest.mark.parametrize("arch", PRESETS)
def test_presets_are_those_of_the_papers(arch):
    arguments = SimpleNamespace()
    ARCH_CONFIG_REGISTRY[arch](arguments)
    found = {**vars(TiedLSTMLanguageModelConfig()), **vars(arguments)}
    assert {name: found[name] for name in PRESETS[arch]} == PRESETS[arch]


@pytest.mark.parametrize("sentence_avg", [False, True])
def test_penalties_of_activations(sentence_avg):
    """Merity et al. (2018), section 4.5: the means over all numbers, once for each token."""
    alpha, beta = 2.0, 3.0
    options = {"last_hidden_size": 6, "hidden_size": 5, "layers": 2, "init_range": 0.9}
    penalties = {"activation_penalty": alpha, "temporal_activation_penalty": beta}
    plain, built = model(**options).double(), model(**options, **penalties).double()
    config = OmegaConf.create({**vars(TiedCrossEntropyConfig()), "sentence_avg": sentence_avg})
    config.update_freq = [1]
    criterion = TiedCrossEntropy(config, SimpleNamespace(target_dictionary=WORDS))
    batch = StreamWindows(corpus(), 3, 1, 9, WORDS.eos())[0]
    attach(batch, CarriedState())
    inputs = plain.embeddings.target(batch["net_input"]["src_tokens"].t())
    outputs, _ = plain.decoder.network(inputs)
    changes = outputs[1:] - outputs[:-1]
    expected = alpha * outputs.pow(2).mean() + beta * changes.pow(2).mean()
    losses = []
    for one in (plain, built):
        attach(batch, CarriedState())
        loss, _, log = criterion(one, batch)
        losses.append(loss)
    torch.testing.assert_close(losses[1] - losses[0], batch["ntokens"] * expected)
    assert log["activation_penalty"] == pytest.approx(expected.item())
    assert log["nll_loss"] == pytest.approx(losses[0].item())
    attach(batch, CarriedState())
    torch.testing.assert_close(criterion(built.eval(), batch)[0], losses[0])  # not validated


@pytest.mark.parametrize("name", ["activation_penalty", "temporal_activation_penalty"])
def test_padding_has_no_activation_to_penalise(name):
    """With --sample-break-mode eos, sentences of a batch differ in length."""
    built = model(init_range=0.9, **{name: 1.0}).double()

    def penalty(*sentences):
        longest = max(map(len, sentences))
        rows = [[*one, *[WORDS.pad()] * (longest - len(one))] for one in sentences]
        return built(torch.tensor(rows), features_only=True)[1]["activation_penalty"].item()

    long, short = [5, 6, 7, 8, 9], [10, 11]
    counts = (5, 2) if name == "activation_penalty" else (4, 1)  # tokens, or pairs of them
    parts = sum(n * penalty(one) for n, one in zip(counts, (long, short), strict=True))
    assert penalty(long, short) == pytest.approx(parts / sum(counts))


def test_sentences_without_two_tokens_have_no_change_to_penalise():
    built = model(init_range=0.9, temporal_activation_penalty=1.0).double()
    tokens = torch.tensor([[WORDS.eos(), WORDS.pad(), WORDS.pad()]])
    assert built(tokens, features_only=True)[1]["activation_penalty"].item() == 0


def test_the_activation_penalty_is_of_what_dropout_leaves():
    options = {"embed_dim": 64, "hidden_size": 64, "activation_penalty": 1.0}
    built = model(dropout=0.5, variational_dropout=True, **options)
    features, extra = built(torch.full((2, 9), 5), features_only=True)
    assert (features == 0).any()
    assert extra["activation_penalty"].item() == pytest.approx(features.pow(2).mean().item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_dropout": 1.0}, "--weight-dropout 1.0: must be from 0 to below 1"),
        ({"hidden_dropout": -0.5}, "--hidden-dropout -0.5: must be from 0 to below 1"),
        ({"last_hidden_size": -1}, "--last-hidden-size -1: must be 0 or more"),
        ({"activation_penalty": -1.0}, "--activation-penalty -1.0: must be 0 or more"),
        ({"dropout": 1.0}, "--dropout 1.0: must be from 0 to below 1"),
        ({"word_dropout": -0.1}, "--word-dropout -0.1: must be from 0 to below 1"),
        ({"hidden_size": 0}, "--hidden-size 0: must be 1 or more"),
        ({"layers": 0}, "--layers 0: must be 1 or more"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        model(**options)

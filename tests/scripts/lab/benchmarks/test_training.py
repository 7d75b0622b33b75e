"""Whether the other side of a language model's benchmark trains the model that ours trains."""

from __future__ import annotations

import pytest

from scripts.lab.baselines import stock
from scripts.lab.baselines.plain_language_model import PlainLanguageModel
from scripts.lab.benchmarks import training
from scripts.lab.benchmarks.training import LanguageModel, loop_variant
from tiednmt.errors import UserError

VOCABULARY = 50


@pytest.fixture
def options(tmp_path):
    """Options of the benchmark, on a folder that only looks prepared."""
    (tmp_path / "data-bin").mkdir()
    return lambda **given: LanguageModel(data=tmp_path, **given)


@pytest.mark.parametrize(
    ("given", "layers_of", "tied", "streams"),
    [
        ({}, (200, 2), False, (20, 20)),
        ({"size": "large"}, (1500, 2), False, (20, 35)),
        ({"experiment": "ptb-large"}, (1500, 2), False, (20, 35)),
        ({"experiment": "ptb-large", "row": "wt"}, (1500, 2), True, (20, 35)),
        ({"tying": "decoder"}, (200, 2), True, (20, 20)),
        ({"arch": "tied_lstm_lm_medium"}, (650, 2), False, (20, 20)),
    ],
)
def test_both_others_train_our_model(options, given, layers_of, tied, streams):
    recipe = options(**given).recipe()
    variant = loop_variant(recipe)
    loop = PlainLanguageModel(variant, VOCABULARY)
    assert (loop.lstm.hidden_size, loop.lstm.num_layers) == layers_of
    assert (loop.output.weight is loop.embedding.weight) == tied
    assert (variant.streams, variant.steps) == streams
    model = stock.lstm_lm(recipe)["model"]
    assert (model["decoder_hidden_size"], model["decoder_layers"]) == layers_of
    assert model.get("share_decoder_input_output_embed", False) == tied


def test_the_names_tell_what_is_tied(options, monkeypatch):
    monkeypatch.setattr(training, "compare", lambda ours, other, runs: other.name)
    names = {
        (against, row): training.measure_language_model(options(against=against, row=row))
        for against in ("loop", "lstm_lm")
        for row in ("none", "wt")
    }
    assert names == {
        ("loop", "none"): "PyTorch loop",
        ("loop", "wt"): "PyTorch loop, tied",
        ("lstm_lm", "none"): "fairseq lstm_lm",
        ("lstm_lm", "wt"): "fairseq lstm_lm --share-decoder-input-output-embed",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"row": "pr"}, "--projection .*: the other side lacks this; choose another row"),
        ({"experiment": "ptb-large", "row": "bd+wt"}, "--variational-dropout"),
        ({"experiment": "ptb-large", "row": "rhn+bd+wt"}, "tied_rhn_lm: only LSTM"),
        ({"experiment": "ptb-transformer"}, "tied_transformer_lm_small: only LSTM"),
    ],
)
@pytest.mark.parametrize("against", ["loop", "lstm_lm"])
def test_what_the_other_side_lacks_is_refused(options, against, given, message):
    with pytest.raises(UserError, match=message):
        training.measure_language_model(options(against=against, **given))

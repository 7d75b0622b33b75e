"""fairseq's models in the place of ours."""

from __future__ import annotations

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.tasks.translation import TranslationTask

from scripts.lab.architectures import numbered_dictionary
from scripts.lab.baselines import stock
from scripts.lab.run.specs import fairseq_train_arguments, load_experiment, merge
from tiednmt.errors import UserError


def test_the_lstm_is_the_row_of_the_experiment():
    rows = load_experiment("multi30k-en-de").rows
    layers = {"encoder_layers": 1, "decoder_layers": 1}  # fairseq's defaults
    expected = merge(rows["fairseq lstm"], {"common": {"user_dir": False}, "model": layers})
    assert stock.translation(rows["three-way"], "lstm") == expected


def test_beside_our_lstm_it_is_the_same_model():
    rows = load_experiment("multi30k-en-de-lstm").rows
    found = stock.translation(rows["three-way"], "lstm")["model"]
    row = {name: value for name, value in rows["fairseq lstm"]["model"].items() if value}
    assert row.items() <= found.items()
    one_way = merge(rows["three-way"], {"model": {"encoder_bidirectional": False}})
    assert stock.translation(one_way, "lstm")["model"]["encoder_bidirectional"] is False


def test_the_transformer_is_the_row_of_the_experiment():
    rows = load_experiment("multi30k-en-de-transformer").rows
    expected = rows["fairseq transformer"]["model"] | {"decoder_embed_dim": 128}
    del expected["embed_dim"]
    found = stock.translation(rows["three-way"], "transformer")
    assert found["model"] == expected
    larger = merge(rows["none"], {"model": {"decoder_layers": 2, "encoder_ffn_embed_dim": 300}})
    found = stock.translation(larger, "transformer")["model"]
    assert (found["encoder_layers"], found["decoder_layers"]) == (4, 2)
    assert found["decoder_ffn_embed_dim"] == 300


def test_a_decoder_of_one_layer_behind_an_encoder_of_several():
    recipe = load_experiment("multi30k-en-de-transformer-gru").rows["three-way"]
    model = stock.translation(recipe, "transformer")["model"]
    assert (model["encoder_layers"], model["decoder_layers"]) == (4, 1)
    with pytest.raises(UserError, match=r"--against lstm: .* ours are 1 and 4"):
        stock.translation(recipe, "lstm")


@pytest.mark.parametrize("architecture", stock.TRANSLATION)
def test_translation_models_are_as_large_as_ours_and_use_nothing_of_the_plugin(architecture):
    recipe = load_experiment("multi30k-en-de").rows["three-way"]
    changes = {
        "task": {"_name": "tied_translation"},
        "model": {"_name": "tied_gru", "embed_dim": 32, "decoder_hidden_size": 48},
        "criterion": {"projection_penalty": 0.1},
    }
    words = fairseq_train_arguments(stock.translation(merge(recipe, changes), architecture))
    assert "tied" not in " ".join(words)
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, ["no data", *words])  # fairseq knows every option
    config = convert_namespace_to_omegaconf(args)
    dictionary = numbered_dictionary(50, "joint")
    model = TranslationTask(config.task, dictionary, dictionary).build_model(config.model)
    assert type(model) is ARCH_MODEL_REGISTRY[architecture]
    (matrix,) = {p for p in model.parameters() if p.shape == torch.Size([50, 32])}
    assert matrix is model.encoder.embed_tokens.weight


def test_the_language_model_has_the_sizes_of_a_preset():
    recipe = load_experiment("ptb-small").rows["none"]
    preset = merge(recipe, {"model": {"_name": "tied_lstm_lm_medium"}})
    for name in ("embed_dim", "hidden_size", "layers", "dropout"):
        del preset["model"][name]
    model = stock.lstm_lm(preset)["model"]
    assert (model["decoder_embed_dim"], model["decoder_hidden_size"], model["dropout"]) == (
        650,
        650,
        0.5,
    )
    assert stock.lstm_lm(recipe)["task"]["_name"] == "language_modeling"

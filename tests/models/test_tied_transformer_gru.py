"""The Transformer encoder with the GRU decoder: each part is that of the model it comes from."""

import pytest
import torch

import tiednmt.plugin  # noqa: F401
from scripts.lab.architectures import empty_model, model_config, numbered_dictionary
from tests.models.contract import build, scores_of
from tests.models.test_habits import config
from tests.support.small_models import batch
from tiednmt.errors import UserError
from tiednmt.tying import NONE, THREE_WAY

ARCH = "tied_transformer_gru"


@pytest.mark.usefixtures("cpu_path")
@pytest.mark.parametrize("left_pad", [True, False])
@pytest.mark.parametrize(
    "changes", [{}, {"encoder_normalize_before": True, "encoder_learned_pos": True}], ids=str
)
def test_each_part_computes_what_it_computes_elsewhere(changes, left_pad):
    """In float64: annotations are the states of tied_transformer, scores of them tied_gru's."""
    model = build(ARCH, NONE, **changes).eval()
    transformer = build("tied_transformer", NONE, seed=8, **changes).eval()
    gru = build("tied_gru", NONE, seed=9, encoder_hidden_size=3, input_scale="sqrt-dim").eval()
    transformer.encoder.load_state_dict(model.encoder.state_dict())
    gru.decoder.load_state_dict(model.decoder.state_dict())
    given, _ = batch(left_pad=left_pad)
    states = transformer.encoder(given["src_tokens"], given["src_lengths"])
    encoder_out = {
        "annotations": states["states"],
        **{k: states[k] for k in ("padding", "columns")},
    }
    expected, extra = gru.decoder(given["prev_output_tokens"], encoder_out)
    found, told = model(**given)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(told["attn"], extra["attn"], rtol=0, atol=0)


def test_the_scale_of_either_side():
    model = build(ARCH, input_scale="2", decoder_input_scale="3")
    assert [scale.value for _, scale in model.lookups.values()] == [2, 3]
    assert [scale.value for _, scale in build(ARCH, input_scale="2").lookups.values()] == [2, 2]
    assert model_config(f"{ARCH}_tiny").decoder_input_scale == "4"
    with pytest.raises(UserError, match="--decoder-input-scale no: must be a number above 0"):
        build(ARCH, decoder_input_scale="no")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_attention_heads": 4}, r"--encoder-attention-heads 4: must divide --embed-dim 6"),
        ({"encoder_layers": 0}, r"--encoder-layers 0"),
        ({"attention_size": 0}, r"--attention-size 0"),
        ({"attention_dropout": 1.0}, r"--attention-dropout 1.0"),
        ({"readout_dropout": -0.1}, r"--readout-dropout -0.1"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        build(ARCH, **options)


@pytest.mark.parametrize(
    "changes",
    [{"dropout": 0.5}, {"attention_dropout": 0.5}, {"encoder_layerdrop": 0.5}]
    + [{f"{place}_dropout": 0.5} for place in ("embedding", "state", "readout")],
    ids=str,
)
def test_each_dropout_has_an_option(changes):
    model, (given, _) = build(ARCH, **changes).train(), batch()
    assert len({float(scores_of(model, given).sum()) for _ in range(8)}) > 1
    assert len({float(scores_of(model.eval(), given).sum()) for _ in range(2)}) == 1


def test_what_a_decoder_of_one_layer_has_not_is_refused():
    for words in ("--decoder-layers 3", "--decoder-attention-heads 2"):
        with pytest.raises(UserError, match=f"{words} is not supported.*--arch tied_transformer"):
            config(ARCH, *words.split())
    assert config(ARCH, "--encoder-embed-dim", "24", "--encoder-layers", "2").embed_dim == 24


@pytest.mark.parametrize(("arch", "millions"), [("tiny", 1.8), ("small", 7.8)])
def test_sizes(arch, millions):
    """On the joint dictionary of Multi30k."""
    dictionary = numbered_dictionary(7440, "joint")
    tie_map = empty_model(f"{ARCH}_{arch}", dictionary, dictionary, tying=THREE_WAY).tie_map
    assert tie_map.total / 1e6 == pytest.approx(millions, abs=0.1)

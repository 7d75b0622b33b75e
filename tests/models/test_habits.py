"""What users of fairseq's own models type by habit."""

import argparse

import pytest
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

import tests.support.toy_model  # noqa: F401
import tiednmt.plugin  # noqa: F401
from scripts.lab.architectures import model_config
from tests.models.contract import ARCHITECTURES, LANGUAGE_MODELS
from tiednmt.errors import UserError
from tiednmt.models.habits import NOT_OFFERED, translated


def config(arch, *words):
    """The model's, of the words that ``fairseq-train`` would be given after ``--arch``."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    group = parser.add_argument_group("model", argument_default=argparse.SUPPRESS)
    ARCH_MODEL_REGISTRY[arch].add_args(group)
    return model_config(arch, **vars(parser.parse_args([*map(str, words)])))


def test_fairseqs_command_line():
    words = ("--arch", "tied_transformer_tiny", "--share-all-embeddings", "--decoder-layers", "2")
    args = options.parse_args_and_arch(options.get_training_parser(), ["no data", *words])
    found = convert_namespace_to_omegaconf(args).model
    expected = config("tied_transformer_tiny", *words[2:])
    assert {**found, "_name": None} == {**expected, "_name": None}
    assert (found.tying, found.decoder_layers, found.encoder_layers) == ("three-way", 2, 4)
    with pytest.raises(UserError, match="--adaptive-input is not supported"):
        words = ("--arch", "tied_gru", "--adaptive-input")
        options.parse_args_and_arch(options.get_training_parser(), ["no data", *words])


def test_an_architecture_that_is_registered_after_the_plugin(monkeypatch):
    monkeypatch.setitem(ARCH_CONFIG_REGISTRY, "tied_toy", lambda args: None)
    words = ("--arch", "tied_toy", "--share-all-embeddings", "--encoder-embed-dim", "6")
    args = options.parse_args_and_arch(options.get_training_parser(), ["no data", *words])
    assert (args.tying, args.embed_dim) == ("three-way", 6)


TYINGS = [
    ("--share-all-embeddings", "three-way"),
    ("--share-decoder-input-output-embed", "decoder"),
    ("--share-all-embeddings --share-decoder-input-output-embed", "three-way"),
    ("--share-all-embeddings --tying three-way", "three-way"),
    ("--tying three-way --share-decoder-input-output-embed", "three-way"),
    ("--tying inputs", "inputs"),
    ("", "none"),
]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_shared_embeddings_are_a_way_of_tying(arch):
    for typed, tying in TYINGS:
        assert config(arch, *typed.split()).tying == tying


@pytest.mark.parametrize(
    "typed",
    [
        "--share-all-embeddings --tying none",
        "--tying none --share-all-embeddings",
        "--share-all-embeddings --tying decoder",
        "--share-decoder-input-output-embed --tying inputs",
        "--share-decoder-input-output-embed --tying none",
        "--no-scale-embedding --input-scale sqrt-dim",
    ],
)
def test_contradictions_are_one_line(typed):
    with pytest.raises(UserError, match=r"contradicts --.*leave one out") as error:
        config("tied_transformer", *typed.split())
    assert "\n" not in str(error.value)


# tied_lstm has these options itself, and a size for each
@pytest.mark.parametrize("arch", sorted({*ARCHITECTURES} - LANGUAGE_MODELS - {"tied_lstm"}))
def test_sizes_have_fairseqs_names_too(arch):
    built = config(arch, "--encoder-embed-dim", 64, "--dropout", 0.2)
    assert (built.embed_dim, built.dropout) == (64, 0.2)
    both = ("--encoder-embed-dim", 64, "--decoder-embed-dim", 64)
    assert config(arch, *both).embed_dim == 64
    for other in ("--decoder-embed-dim", "--embed-dim"):
        with pytest.raises(UserError, match=r"one value for both"):
            config(arch, "--encoder-embed-dim", 64, other, 32)


def test_what_is_typed_goes_before_what_an_architecture_brings():
    typed = ("--encoder-embed-dim", 32, "--decoder-ffn-embed-dim", 48, "--no-scale-embedding")
    built = config("tied_transformer_iwslt_de_en", *typed)
    assert (built.embed_dim, built.input_scale) == (32, "1")
    assert (built.encoder_ffn_embed_dim, int(built.decoder_ffn_embed_dim)) == (1024, 48)
    alone = config("tied_transformer", "--encoder-ffn-embed-dim", 99)
    assert alone.decoder_ffn_embed_dim == 99  # as in fairseq
    assert config("tied_transformer", "--relu-dropout", 0.1).activation_dropout == 0.1


def test_language_models():
    typed = ("--decoder-hidden-size", 30, "--decoder-layers", 3, "--decoder-embed-dim", 20)
    built = config("tied_lstm_lm", *typed, "--share-decoder-input-output-embed")
    assert (built.hidden_size, built.layers, built.embed_dim) == (30, 3, 20)
    assert built.tying == "decoder"


def options_of(arch):
    """fairseq's own, each with a value that asks for something."""
    parser = argparse.ArgumentParser()
    ARCH_MODEL_REGISTRY[arch].add_args(parser)
    values = {int: "2", float: "0.5", None: "2"}
    for action in parser._actions:
        if action.dest == "help":
            continue
        value = [] if action.nargs == 0 else [(action.choices or [values.get(action.type, "2")])[0]]
        yield [action.option_strings[0], *value]


@pytest.mark.parametrize("ours", ["tied_gru", "tied_transformer"])
@pytest.mark.parametrize("theirs", ["transformer", "lstm"])
def test_each_option_of_fairseqs_is_taken_or_refused_by_name(ours, theirs):
    taken, refused = set(), {}
    for option, *value in options_of(theirs):
        try:
            config(ours, option, *value)
            taken.add(option)
        except UserError as error:
            refused[option] = str(error)
    for option, line in refused.items():
        assert line.startswith(f"{option} ") and "is not supported by this architecture: " in line
    assert {"--dropout", "--share-all-embeddings", "--encoder-embed-dim"} <= taken
    if f"tied_{theirs}" == ours:
        assert len(taken) > 2 * len(refused) / 3


def test_an_option_that_is_off_asks_for_nothing():
    typed = ("--quant-noise-pq", 0, "--adaptive-softmax-dropout", "0.0", "--base-layers", 0)
    assert config("tied_transformer", *typed).encoder_layers == 6
    off = {name: off for name, (off, _) in NOT_OFFERED.items()}
    assert translated(off, {"embed_dim"}) == {}
    assert translated({**off, "encoder_embed_dim": 8}, {"embed_dim"}) == {"embed_dim": 8}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--adaptive-softmax-cutoff 100,200", r"softmax-cutoff 100,200 is not supported.*"
         r"--criterion tied_cross_entropy"),
        ("--offload-activations", r"--offload-activations is not.*--checkpoint-activations"),
        ("--merge-src-tgt-embed", r"--joined-dictionary.*--tying three-way"),
        ("--quant-noise-pq 0.1", r"--int8"),
        ("--encoder-layers-to-keep 0,2", r"fewer --encoder-layers"),
    ],
)  # fmt: skip
def test_what_is_not_offered_is_refused_with_the_nearest_thing(typed, message):
    with pytest.raises(UserError, match=message):
        config("tied_transformer", *typed.split())

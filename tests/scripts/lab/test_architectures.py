"""Sizes of every registered architecture, and the command line that shows them."""

import json
from argparse import Namespace

import pytest
import torch
from fairseq.models import ARCH_MODEL_REGISTRY

from scripts import model_size as command
from scripts.lab.architectures import (
    VocabularySizes,
    empty_model,
    is_language_model,
    model_config,
    model_sizes,
    numbered_dictionary,
    tied_architectures,
)
from tiednmt.modes import TYINGS
from tiednmt.tying import JOINT

SIZES = VocabularySizes(source=50, target=60, joint=70)


def test_what_is_registered_is_found():
    assert {"tied_gru", "tied_gru_press_wolf", "tied_lstm_lm_small"} <= set(tied_architectures())
    assert "lstm" not in tied_architectures()


@pytest.mark.parametrize("architecture", tied_architectures())
def test_the_map_counts_the_model_that_is_trained(architecture):
    """For every architecture and tying, in small."""
    sizes = {name: 16 for name in model_config(architecture) if _is_width(name)}
    for tying, size in model_sizes(architecture, SIZES, projection=True, **sizes).items():
        joint = tying in JOINT
        target = numbered_dictionary(SIZES.joint if joint else SIZES.target, "target")
        source = target if joint else numbered_dictionary(SIZES.source, "source")
        if is_language_model(architecture):
            source = None
        config = model_config(architecture, tying=tying, projection=True, **sizes)
        task = Namespace(source_dictionary=source, target_dictionary=target)
        built = ARCH_MODEL_REGISTRY[architecture].build_model(config, task)
        assert size.total == sum(parameter.numel() for parameter in built.parameters())
        matrices = 2 if source is None else 3
        assert sum(len(names) for names, _ in size.groups) == matrices


def _is_width(option):
    return option.endswith(("embed_dim", "hidden_size", "attention_size"))


def test_every_tying_is_shown_that_a_model_can_have():
    translation = model_sizes("tied_gru_tiny", SIZES)
    assert tuple(translation) == TYINGS
    assert list(model_sizes("tied_rhn_lm", SIZES)) == ["none", "decoder"]
    assert translation["three-way"].groups[0][1] == (70, 128)


def test_nothing_is_allocated():
    dictionary = numbered_dictionary(10, "target")
    model = empty_model("tied_gru_press_wolf", dictionary, dictionary)
    assert {parameter.device for parameter in model.parameters()} == {torch.device("meta")}


def model_size(*arguments):
    command.main([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("sizes", "millions"),
    [
        ((87_000, 92_000, 94_000), {"none": 167.9, "decoder": 121.9, "three-way": 79.4}),
        ((83_000, 91_000, 94_000), {"none": 164.9, "decoder": 119.4, "three-way": 79.4}),
    ],
)
def test_sizes_of_the_paper(sizes, millions, capsys):
    source, target, joint = sizes
    model_size("--source", source, "--target", target, "--joint", joint, "--json")
    totals = json.loads(capsys.readouterr().out)
    assert list(totals) == list(TYINGS)
    for tying, expected in millions.items():
        assert totals[tying]["total"] == pytest.approx(expected * 1e6, rel=0.005)


def test_a_language_model_of_a_prepared_corpus(tmp_path, capsys):
    """Press & Wolf (2017), table 5: the small model of Penn Treebank."""
    manifest = {"vocabulary": {"types": 9999, "dictionary": 10_000}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    model_size("--arch", "tied_lstm_lm_small", "--data", tmp_path, "--json")
    totals = json.loads(capsys.readouterr().out)
    assert totals["none"]["total"] == pytest.approx(4.65e6, rel=0.002)
    assert totals["decoder"]["total"] == pytest.approx(2.65e6, rel=0.003)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source", 2, "--target", 9, "--joint", 9), "error: --source 2: at least the 4 special"),
        (("--source", 9, "--target", 9, "--joint", 2), "error: --joint 2: at least the 4 special"),
        (("--arch", "tied_rhn_lm", "--data", "nowhere"), "nowhere/manifest.json: no such file"),
    ],
)
def test_impossible_sizes_are_one_line(arguments, message):
    with pytest.raises(SystemExit) as stopped:
        model_size(*arguments)
    assert message in stopped.value.code
    assert "\n" not in stopped.value.code


@pytest.mark.parametrize(
    "arguments",
    [
        ("--target", 9),
        ("--arch", "tied_rhn_lm", "--target", 9, "--joint", 9),
        ("--data", "nowhere", "--target", 9),
    ],
)
def test_the_options_that_an_architecture_takes(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        model_size(*arguments)
    assert stopped.value.code == 2
    assert "--target" in capsys.readouterr().err.splitlines()[-1]

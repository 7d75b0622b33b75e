"""The command lines of all benchmarks; none is run."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from fairseq import options

from scripts import benchmark
from scripts.lab.baselines import stock
from scripts.lab.benchmarks.catalogue import BENCHMARKS, command_of
from scripts.lab.benchmarks.generation import Generation
from scripts.lab.benchmarks.options import OurModel
from scripts.lab.benchmarks.roofline import Work
from scripts.lab.benchmarks.training import LanguageModel, Translation
from scripts.lab.run.specs import ROOT, fairseq_train_arguments
from tiednmt.errors import UserError
from tiednmt.options import from_arguments

KEPT = sorted((ROOT / "results").glob("benchmark-*.json"))


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """The folders that the commands of the kept records name."""
    commands = " ".join(path.read_text(encoding="utf-8") for path in KEPT)
    for run in set(re.findall(r"runs/[\w-]+", commands)):
        (tmp_path / run / "data" / "data-bin").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


def parsed(command):
    python, m, module, *words = shlex.split(command)
    assert (python, m, module) == ("python", "-m", "scripts.benchmark")
    args = benchmark.parser().parse_args(words)
    return args.benchmark, from_arguments(BENCHMARKS[args.benchmark].options, args)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_the_command_of_a_kept_record_can_be_repeated(path):
    """With every word that it has, and the command recorded today says the same."""
    command = json.loads(path.read_text(encoding="utf-8"))["command"]
    name, given_options = parsed(command)
    repeated = command_of(name, given_options)
    given = re.split(r" (?=--)", command)
    assert set(given) <= set(re.split(r" (?=--)", repeated))
    assert parsed(repeated) == (name, given_options)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_help_of_each(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        benchmark.main([name, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "".join(BENCHMARKS[name].what.split()) in "".join(text.split())  # wrapped at hyphens too
    assert "--threads N" in text


def test_a_row_of_any_experiment_is_ours_and_can_be_changed():
    model = OurModel(experiment="multi30k-en-de", row="none")
    assert model.name == "tied_gru --tying none, highest"
    other = OurModel(
        experiment="multi30k-en-de",
        arch="tied_gru_press_wolf",
        tying="decoder",
        precision="bf16",
    )
    assert other.name == "tied_gru_press_wolf --tying decoder, bf16"
    recipe = other.recipe_in_precision()
    assert recipe["model"]["dropout"] == 0.4
    assert recipe["common"]["bf16"] is True
    with pytest.raises(UserError, match="--row gru: multi30k-en-de has only none, decoder"):
        OurModel(experiment="multi30k-en-de", row="gru").recipe()


def test_an_architecture_that_is_asked_for_has_its_own_sizes(tmp_path):
    """On both sides: the recipe writes out those of another, ``tied_transformer_tiny``."""
    data = tmp_path / "runs" / "multi30k-en-de" / "data"
    experiment = "multi30k-en-de-transformer"
    small = Translation(
        data=data, experiment=experiment, arch="tied_transformer_small", against="transformer"
    )
    model, stock_model = small.recipe()["model"], small.stock_recipe()["model"]
    assert (model["embed_dim"], model["encoder_ffn_embed_dim"]) == (256, 1024)
    assert (model["encoder_layers"], model["decoder_layers"]) == (3, 3)
    assert model["dropout"] == stock_model["dropout"] == 0.3
    assert stock_model["decoder_embed_dim"] == 256 and stock_model["encoder_layers"] == 3
    assert Translation(data=data, experiment=experiment).recipe()["model"]["embed_dim"] == 128


@pytest.mark.parametrize(
    ("against", "row"),
    [
        ("ctranslate2", "gru"),
        ("ctranslate2 three-way x 4", "three-way x 4"),
        ("fairseq lstm", None),
    ],
)
def test_the_row_that_ctranslate2_translates_with(against, row, tmp_path):
    run = tmp_path / "runs" / "multi30k-en-de"
    assert Generation(run=run, row="gru", against=against).row_for_ctranslate2 == row


def test_what_the_machine_is_asked_is_what_is_trained(tmp_path):
    data = tmp_path / "runs" / "multi30k-en-de" / "data"
    work = Work.of(Translation(data=data, row="none", max_tokens=77, against="joeynmt"))
    assert (work.data, work.row, work.max_tokens) == (data, "none", 77)


def test_the_size_of_a_language_model_chooses_the_experiment(tmp_path):
    data = tmp_path / "runs" / "ptb-small" / "data"
    assert LanguageModel(data=data, size="large").name.startswith("tied_lstm_lm_large --tying none")
    other = LanguageModel(data=data, experiment="ptb-small", row="wt", precision="medium")
    assert other.name == "tied_lstm_lm_small --tying decoder, medium"


@pytest.mark.parametrize("size", ["small", "large"])
def test_fairseq_knows_every_option_of_both_language_models(size, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # where --user-dir tiednmt is
    data = tmp_path / "runs" / "ptb-small" / "data"
    model = LanguageModel(data=data, size=size, precision="medium")
    for recipe in (model.recipe_in_precision(), stock.lstm_lm(model.recipe())):
        parser = options.get_training_parser()
        words = ["no data", *fairseq_train_arguments(recipe)]
        args = options.parse_args_and_arch(parser, words)
        assert args.arch == recipe["model"]["_name"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --data nowhere", "--data nowhere: no data-bin there; prepare it with"),
        (
            "train --data runs/ptb-small/data --against joeynmt --joeynmt-python no",
            "no cannot import joeynmt; install it there",
        ),
        ("generate --run nowhere", "--run nowhere: no data/data-bin there; train a translation"),
        (
            "generate --run runs/multi30k-en-de --against ctranslate2 --precision fp16",
            "--precision fp16 is for our search and fairseq's",
        ),
        ("growth --experiment nmt", "no experiment is called nmt"),
    ],
)
def test_bad_input(words, message):
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(words.split())
    assert message in stopped.value.code
    assert "\n" not in stopped.value.code

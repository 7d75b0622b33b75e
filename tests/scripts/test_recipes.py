"""Recipes say the same to fairseq-train as they say to fairseq-hydra-train."""

from argparse import Namespace
from pathlib import Path

import pytest
from fairseq import options, utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

import tiednmt
from scripts.recipes import (
    EXPERIMENTS,
    RECIPES,
    fairseq_train_arguments,
    load_experiment,
    load_recipe,
    merge,
)
from tiednmt.errors import UserError

USER_DIR = str(Path(tiednmt.__file__).parent)


def understood(recipe):
    """What fairseq-train makes of a recipe, as fairseq's configuration."""
    utils.import_user_module(Namespace(user_dir=USER_DIR))
    arguments = fairseq_train_arguments(merge(recipe, {"common": {"user_dir": USER_DIR}}))
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, ["DATA", *arguments])
    return convert_namespace_to_omegaconf(args)


@pytest.mark.parametrize("name", [path.stem for path in RECIPES.glob("*.yaml")])
def test_every_value_reaches_fairseq(name):
    recipe = load_recipe(name)
    config = understood(recipe)
    for group, values in recipe.items():
        for key, value in values.items():
            if key not in ("_name", "user_dir"):
                assert config[group][key] == value, (group, key)
    assert config.model._name == recipe["model"]["_name"]
    assert config.criterion._name == recipe["criterion"]["_name"]


@pytest.mark.parametrize("name", [path.stem for path in EXPERIMENTS.glob("*.yaml")])
def test_rows_of_an_experiment_differ_in_the_model_alone(name):
    experiment = load_experiment(name)
    assert {"none", "decoder", "three-way"} <= set(experiment.rows)
    assert set(experiment.baselines) <= set(experiment.rows)
    base = experiment.rows["none"]
    for row, recipe in experiment.rows.items():
        config = understood(recipe)
        if row in ("none", "decoder", "three-way"):
            assert config.model.tying == row
            assert recipe["criterion"] == base["criterion"]
        for group in ("optimizer", "lr_scheduler", "optimization", "dataset", "common"):
            assert recipe[group] == base[group], (row, group)
        assert config.criterion.label_smoothing == base["criterion"]["label_smoothing"]


def test_flags_and_lists():
    recipe = {"common": {"cpu": True, "fp16": False, "seed": 3}, "optimization": {"lr": [0.1, 0.2]}}
    assert fairseq_train_arguments(recipe) == ["--cpu", "--seed", "3", "--lr", "0.1,0.2"]


def test_unknown_experiment_names_those_there():
    with pytest.raises(UserError, match=r"no experiment is called wmt99; there are demo, "):
        load_experiment("wmt99")

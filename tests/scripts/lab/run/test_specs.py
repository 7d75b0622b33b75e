"""Recipes say the same to fairseq-train as they say to fairseq-hydra-train."""

import re
from argparse import Namespace
from functools import cache
from pathlib import Path

import pytest
import torch
from fairseq import options as fairseq_options
from fairseq import utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.optim.lr_scheduler.fixed_schedule import FixedLRSchedule
from fairseq.optim.sgd import SGD
from omegaconf import OmegaConf

import tiednmt.plugin
from scripts.lab.run import specs as recipes
from scripts.lab.run.specs import (
    RECIPES,
    experiment_names,
    fairseq_train_arguments,
    load_experiment,
    load_recipe,
    merge,
    options,
)
from scripts.lab.runner import scoring_of
from tiednmt.errors import UserError
from tiednmt.modes import TYINGS

USER_DIR = str(Path(tiednmt.__file__).parent)


def parsed(recipe):
    """What fairseq-train reads on the command line of a recipe."""
    utils.import_user_module(Namespace(user_dir=USER_DIR))
    arguments = fairseq_train_arguments(merge(recipe, {"common": {"user_dir": USER_DIR}}))
    parser = fairseq_options.get_training_parser()
    return fairseq_options.parse_args_and_arch(parser, ["DATA", *arguments])


@cache
def understood(name):
    """What fairseq-train makes of a recipe, as fairseq's configuration (half a second)."""
    return convert_namespace_to_omegaconf(parsed(load_recipe(name)))


def with_defaults(args):
    """The same with the model's options that were not given."""
    defaults = MODEL_DATACLASS_REGISTRY[ARCH_MODEL_NAME_REGISTRY[args.arch]]()
    return Namespace(**{**vars(defaults), **vars(args)})


@pytest.mark.parametrize("name", [path.stem for path in RECIPES.glob("*.yaml")])
def test_every_value_reaches_fairseq(name):
    config = understood(name)
    recipe = OmegaConf.to_container(OmegaConf.create(load_recipe(name)), resolve=True)
    for group, values in recipe.items():
        for key, value in values.items():
            if key not in ("_name", "user_dir"):
                assert getattr(config[group], key) == value, (group, key)
    assert config.model._name == recipe["model"]["_name"]
    assert config.criterion._name == recipe["criterion"]["_name"]


def experiments(kind):
    loaded = map(load_experiment, experiment_names())
    return [experiment for experiment in loaded if experiment.kind == kind]


@pytest.mark.parametrize("experiment", experiments("translation"), ids=lambda e: e.name)
def test_translation_rows_differ_in_the_model_alone(experiment):
    """Those of fairseq from the baseline; of several architectures of ours, each from its first."""
    baselines = experiment.settings["baselines"]
    assert set(baselines) <= set(experiment.rows)
    first = {recipe["model"]["_name"]: recipe for recipe in reversed(experiment.rows.values())}
    for row, recipe in experiment.rows.items():
        args, name = parsed(recipe), recipe["model"]["_name"]
        base = first[name] if name.startswith("tied_") else experiment.rows[baselines[0]]
        if row in TYINGS:  # a row that has a tying's name
            assert args.tying == row
            assert recipe["criterion"] == base["criterion"]
        groups = ["optimizer", "lr_scheduler", "dataset", "common"]
        for group in groups if row in experiment.teachers else [*groups, "optimization"]:
            assert recipe[group] == base[group], (row, group)
        assert args.label_smoothing == base["criterion"]["label_smoothing"]


@pytest.mark.parametrize("experiment", experiments("tied_language_modeling"), ids=lambda e: e.name)
def test_language_model_rows_are_what_they_are_called(experiment):
    for row, recipe in experiment.rows.items():
        args = with_defaults(parsed(recipe))
        parts = {name: more for name, _, more in (part.partition(" ") for part in row.split("+"))}
        assert args.tying == ("decoder" if "wt" in parts else "none")
        penalty = float(parts["pr"] or 0.15) if "pr" in parts else 0
        assert args.projection == (penalty > 0)
        assert args.projection_penalty == penalty
        assert parts.get("wt") != "1 bias" or args.single_bias
        if "attention_span" in args:
            assert (args.attention_span > 0) == (parts.get("wt") != "without memory")
        else:
            assert args.variational_dropout == ("bd" in parts)
        assert (args.weight_decay > 0) == ("wd" in parts or "rhn" in parts)
        assert args.batch_size == 20


def test_rows_of_another_experiment_with_changes():
    begun, whole = load_experiment("ptb-large-begun"), load_experiment("ptb-large")
    changed = {"optimization": "max_update", "dataset": "validate_interval_updates"}
    for row, recipe in begun.rows.items():
        for group, values in recipe.items():
            given = {key: value for key, value in values.items() if key != changed.get(group)}
            expected = dict(whole.rows[row][group])
            expected.pop(changed.get(group), None)
            assert given == expected, (row, group)
        assert parsed(recipe).max_update == 1000
    assert begun.runs_of is None and begun.prepare == whole.prepare


def test_small_rates_halve_after_four_epochs():
    config = understood("tied_lstm_lm_small")
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    schedule = FixedLRSchedule(config.lr_scheduler, SGD(config.optimizer, parameters))
    rates = [schedule.step_begin_epoch(epoch) for epoch in range(1, 8)]
    assert rates == [1.0, 1.0, 1.0, 1.0, 0.5, 0.25, 0.125]


def test_an_experiment_that_says_too_little(monkeypatch, tmp_path):
    monkeypatch.setattr(recipes, "EXPERIMENTS", tmp_path)
    (tmp_path / "short.yaml").write_text(
        "title: Short\nkind: translation\nprepare: [preprocess.demo]\nrecipe: x\n"
    )
    with pytest.raises(UserError, match=r"short.yaml: it lacks rows"):
        load_experiment("short")
    (tmp_path / "short.yaml").write_text("title: Short\nprepare: [preprocess.demo]\nrows: {}\n")
    with pytest.raises(UserError, match=r"short.yaml: it lacks kind"):
        load_experiment("short")
    (tmp_path / "short.yaml").write_text(
        "title: Short\nkind: translation\nprepare: [preprocess.demo]\nrecipe: tied_gru_demo\n"
        "rows: {none: {}}\nbaselines: [non]\n"
    )
    with pytest.raises(UserError, match=r"short.yaml: baselines: there are no rows non"):
        load_experiment("short")


WITH_TEACHERS = """
title: Taught
kind: translation
prepare: [preprocess.demo]
recipe: tied_gru_demo
rows: {a: {}, b: {}, student: {}, student of it: {}, alone: {}}
teachers: {student: [a, b], student of it: [student, a]}
baselines: [a]
"""


def test_teachers_are_trained_before_their_students(monkeypatch, tmp_path):
    monkeypatch.setattr(recipes, "EXPERIMENTS", tmp_path)
    (tmp_path / "taught.yaml").write_text(WITH_TEACHERS)
    taught = load_experiment("taught")
    assert taught.rounds() == [["a", "b", "alone"], ["student"], ["student of it"]]
    assert taught.only(["b"]).rounds() == [["b"]]
    assert taught.only(["student of it"]).rounds() == [["a", "b"], ["student"], ["student of it"]]
    (tmp_path / "others.yaml").write_text(
        "title: Others\nkind: translation\nrows_of: taught\nrows: [a, b, student]\nbaselines: [a]\n"
    )
    assert load_experiment("others").rounds() == [["a", "b"], ["student"]]


@pytest.mark.parametrize(
    ("teachers", "complaint"),
    [
        ("{student: [a, c]}", "teachers: student: must be rows above it, and c is none"),
        ("{student: [student]}", "teachers: student: must be rows above it, and student is none"),
        ("{a: [student]}", "teachers: a: must be rows above it, and student is none"),
        ("{student: []}", "teachers: student: must be rows above it, one or several"),
        ("{pupil: [a]}", "teachers: there is no row pupil"),
        ("{student: a}", "teachers.student must be a list"),
    ],
)
def test_teachers_that_are_no_rows_above(monkeypatch, tmp_path, teachers, complaint):
    monkeypatch.setattr(recipes, "EXPERIMENTS", tmp_path)
    lines = [line for line in WITH_TEACHERS.splitlines() if not line.startswith("teachers")]
    (tmp_path / "wrong.yaml").write_text("\n".join([*lines, f"teachers: {teachers}\n"]))
    with pytest.raises(UserError, match=f"wrong.yaml: {complaint}"):
        load_experiment("wrong")


def test_every_experiment_is_of_a_kind_that_is_scored():
    for name in experiment_names():
        scoring_of(load_experiment(name))


def test_the_same_options_in_any_order():
    recipe = load_recipe("tied_gru_demo")
    assert options(recipe)["--arch"] == ("tied_gru_tiny",)
    assert options(recipe)["--grouped-shuffling"] == ()
    words = [word for option, value in options(recipe).items() for word in (option, *value)]
    assert fairseq_train_arguments(recipe) == words


def test_flags_and_lists():
    recipe = {"common": {"cpu": True, "fp16": False, "seed": 3}, "optimization": {"lr": [0.1, 0.2]}}
    assert fairseq_train_arguments(recipe) == ["--cpu", "--seed", "3", "--lr", "0.1,0.2"]


def test_unknown_experiment_names_those_there():
    with pytest.raises(UserError, match=r"no experiment is called wmt99; there are demo, "):
        load_experiment("wmt99")


OWN = "title: t\nkind: translation\nprepare: [demo]\nrecipe: tied_gru_demo\nrows: {a: {}}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "must be a mapping (name: value)"),
        (b"\xff\xfe", "not valid YAML"),
        (b"[1, 2]", "must be a mapping (name: value)"),
        (b"a: [", "not valid YAML"),
        (b"[" * 2_000, "not valid YAML"),
        (b"title: 2020-13-45\n", "not valid YAML"),
        (b"title: !!int ''\n", "not valid YAML"),
        (OWN.replace("{a: {}}", "{a b: {}, a-b: {}}"), "a b and a-b: rows of one folder"),
        *(
            (OWN.replace("{a: {}}", f"{{{row}: {{}}}}"), f"{row!r}: its runs need a folder of")
            for row in ("data", "..", "a/b", "translations")
        ),
        (OWN.replace("{a: {}}", ""), "it lacks rows"),
        (OWN.replace("{a: {}}", "[a]"), "rows must be a mapping (name: value)"),
        (OWN.replace("{}", ""), "rows.a must be a mapping (name: value)"),
        (OWN.replace("{}", "{model: [a]}"), "rows.a.model must be a mapping (name: value)"),
        (OWN.replace("[demo]", ""), "prepare must be a list"),
        (OWN.replace("[demo]", "[]"), "prepare is empty; name a module of preprocess"),
        (OWN.replace("[demo]", "[1]"), "prepare[0] is 1, not text"),
        (OWN.replace(": t\n", ": [t]\n"), "title is ['t'], not text"),
        (OWN + "average_last: two\n", "average_last is 'two', not a whole number"),
        ("title: t\nkind: translation\nrows_of: odd\nrows: [a]\n", "must name another experiment"),
        ("title: t\nkind: translation\nruns_of: odd\nrows: [a]\n", "must name another experiment"),
        ("title: t\nkind: translation\nrows_of: demo\nrows: {a: {}}\n", "rows must be a list"),
    ],
    ids=lambda text: text[-40:] if isinstance(text, str) else text[-40:].decode("latin-1"),
)
def test_an_experiment_of_other_types_is_named(text, message, monkeypatch, tmp_path):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "odd.yaml").write_bytes(content)
    (tmp_path / "demo.yaml").write_text(OWN)
    monkeypatch.setattr(recipes, "EXPERIMENTS", tmp_path)
    with pytest.raises(UserError, match=rf"odd\.yaml: .*{re.escape(message)}"):
        load_experiment("odd")


def test_experiments_that_name_each_other_are_refused(monkeypatch, tmp_path):
    for name, other in (("one", "two"), ("two", "three"), ("three", "one")):
        text = f"title: t\nkind: translation\nrows_of: {other}\nrows: [a]\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.setattr(recipes, "EXPERIMENTS", tmp_path)
    with pytest.raises(UserError, match=r"three\.yaml: .*\(one → two → three → one\)"):
        load_experiment("one")


def test_a_recipe_of_other_types_is_named(monkeypatch, tmp_path):
    (tmp_path / "odd.yaml").write_text("common: {seed: 1}\nmodel: tied_gru\n")
    monkeypatch.setattr(recipes, "RECIPES", tmp_path)
    with pytest.raises(UserError, match=r"odd\.yaml: model must be a mapping \(name: value\)"):
        load_recipe("odd")


def test_null_is_left_out():
    """As hydra means it: no value."""
    recipe = {"checkpoint": {"patience": None, "no_save": False, "keep_last_epochs": 0}}
    assert fairseq_train_arguments(recipe) == ["--keep-last-epochs", "0"]

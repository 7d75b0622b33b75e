"""Recipes (``configs/recipes``) and experiments (``configs/experiments``) as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tiednmt.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "configs" / "recipes"
EXPERIMENTS = ROOT / "configs" / "experiments"

Recipe = dict[str, dict[str, Any]]

_OPTION_OF_NAME = {
    "model": "--arch",
    "task": "--task",
    "criterion": "--criterion",
    "optimizer": "--optimizer",
    "lr_scheduler": "--lr-scheduler",
}


@dataclass(frozen=True)
class Experiment:
    """Models trained on one corpus and compared on its test sets."""

    name: str
    title: str
    prepare: tuple[str, ...]  # module of preprocess/ and its arguments
    rows: Mapping[str, Recipe]  # a recipe a row of the table
    baselines: tuple[str, ...]  # the rows that the others are compared with; sizes with the first
    subsets: tuple[str, ...]
    beam: int


def load_recipe(name: str) -> Recipe:
    """Read ``configs/recipes/<name>.yaml``: fairseq's configuration groups."""
    return _read(RECIPES, name, "recipe")


def load_experiment(name: str) -> Experiment:
    """Read ``configs/experiments/<name>.yaml`` with the recipe it names."""
    data = _read(EXPERIMENTS, name, "experiment")
    recipe = load_recipe(data["recipe"])
    return Experiment(
        name=name,
        title=data["title"],
        prepare=tuple(data["prepare"]),
        rows={row: merge(recipe, changes) for row, changes in data["rows"].items()},
        baselines=tuple(data["baselines"]),
        subsets=tuple(data["subsets"]),
        beam=data["beam"],
    )


def merge(recipe: Recipe, changes: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """The recipe with the values of ``changes`` put in, group by group."""
    groups = [*recipe, *(group for group in changes if group not in recipe)]
    return {group: {**recipe.get(group, {}), **changes.get(group, {})} for group in groups}


def fairseq_train_arguments(recipe: Recipe) -> list[str]:
    """The options of ``fairseq-train`` that say the same as ``recipe`` says to hydra.

    A group's ``_name`` becomes the option that chooses it (``--arch``, ``--criterion``, …), every
    other key the option of that name; ``true`` is a flag, ``false`` is left out.
    """
    arguments: list[str] = []
    for group, values in recipe.items():
        for key, value in values.items():
            option = _OPTION_OF_NAME[group] if key == "_name" else "--" + key.replace("_", "-")
            if value is True:
                arguments.append(option)
            elif isinstance(value, list):
                arguments += [option, ",".join(map(str, value))]
            elif value is not False:
                arguments += [option, str(value)]
    return arguments


def _read(folder: Path, name: str, what: str) -> dict[str, Any]:
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise UserError(f"no {what} is called {name}; there are {known}")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from error

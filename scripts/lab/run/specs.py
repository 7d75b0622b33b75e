"""Recipes (``configs/recipes``) and experiments (``configs/experiments``) as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tiednmt.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
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
    """Models trained on one corpus and compared.

    Without rows nothing is trained by fairseq; what is measured then says ``results``.
    """

    name: str
    title: str
    prepare: tuple[str, ...]  # module of preprocess/ and its arguments
    rows: Mapping[str, Recipe]  # a recipe a row of the table
    settings: Mapping[str, Any]  # how the rows are scored and shown; what there is depends on task
    results: str | None = None  # what is measured, where that is not what the task is for
    runs_of: str | None = None  # the experiment whose data and trained rows these are

    @property
    def task(self) -> str:
        """What is measured: ``results``, or else fairseq's task, the same in every row.

        Raises:
            UserError: it is not.
        """
        if self.results:
            return self.results
        tasks = {recipe["task"]["_name"] for recipe in self.rows.values()}
        if len(tasks) != 1:
            raise UserError(f"{self.name}: rows of one table need one task, not {sorted(tasks)}")
        return tasks.pop()

    def only(self, rows: Sequence[str]) -> Experiment:
        """The same with these rows alone, in their own order.

        Raises:
            UserError: there is no such row, or one is left out that the others are compared with.
        """
        unknown = [row for row in rows if row not in self.rows]
        if unknown:
            raise UserError(
                f"{self.name} has no rows {', '.join(unknown)}; it has {', '.join(self.rows)}"
            )
        needed = [row for row in self.settings.get("baselines", ()) if row not in rows]
        if needed:
            raise UserError(f"{self.name}: rows are compared with {', '.join(needed)}: name it too")
        return replace(self, rows={row: self.rows[row] for row in self.rows if row in rows})


def experiment_names() -> list[str]:
    """The experiments there are."""
    return _names(EXPERIMENTS)


def load_recipe(name: str) -> Recipe:
    """Read ``configs/recipes/<name>.yaml``: fairseq's configuration groups."""
    return _read(RECIPES, name, "recipe")


def load_experiment(name: str) -> Experiment:
    """Read ``configs/experiments/<name>.yaml`` with the recipes it names."""
    data = _read(EXPERIMENTS, name, "experiment")
    if "runs_of" in data:
        return _on_runs_of(load_experiment(data.pop("runs_of")), name, data)
    if "rows_of" in data:
        return _with_rows_of(load_experiment(data.pop("rows_of")), name, data)
    needed = ("title", "prepare") if "results" in data else ("title", "prepare", "recipe", "rows")
    _require(name, data, *needed)
    recipe = data.pop("recipe", "")
    return Experiment(
        name=name,
        title=data.pop("title"),
        prepare=tuple(data.pop("prepare")),
        rows={row: _row(changes, recipe) for row, changes in data.pop("rows", {}).items()},
        results=data.pop("results", None),
        settings=data,
    )


def _on_runs_of(base: Experiment, name: str, data: dict[str, Any]) -> Experiment:
    """An experiment that measures something else of the runs of another."""
    return replace(_with_rows_of(base, name, data), runs_of=base.name)


def _with_rows_of(base: Experiment, name: str, data: dict[str, Any]) -> Experiment:
    """An experiment on rows of another, with ``changes`` if there are any."""
    _require(name, data, "title", "results", "rows")
    unknown = ", ".join(row for row in data["rows"] if row not in base.rows)
    if unknown:
        raise UserError(f"{EXPERIMENTS / name}.yaml: {base.name} has no rows {unknown}")
    changes = data.pop("changes", {})
    return replace(
        base,
        name=name,
        title=data.pop("title"),
        rows={row: merge(base.rows[row], changes) for row in data.pop("rows")},
        results=data.pop("results"),
        settings=data,
    )


def _require(name: str, data: Mapping[str, Any], *keys: str) -> None:
    missing = ", ".join(key for key in keys if key not in data)
    if missing:
        raise UserError(f"{EXPERIMENTS / name}.yaml: lacks {missing}")


def _row(changes: Mapping[str, Any], recipe: str) -> Recipe:
    """The experiment's recipe, or the row's own, with the row's changes."""
    groups = dict(changes)
    return merge(load_recipe(groups.pop("recipe", recipe)), groups)


def merge(recipe: Recipe, changes: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """The recipe with the values of ``changes`` put in, group by group."""
    groups = [*recipe, *(group for group in changes if group not in recipe)]
    return {group: {**recipe.get(group, {}), **changes.get(group, {})} for group in groups}


def fairseq_train_arguments(recipe: Recipe) -> list[str]:
    """The options of ``fairseq-train`` that say the same as ``recipe`` says to hydra.

    A group's ``_name`` becomes the option that chooses it (``--arch``, ``--criterion``, …), every
    other key the option of that name; ``true`` is a flag, ``false`` is left out. So is what only
    says to hydra where another value stands (``${optimization.lr}``).
    """
    arguments: list[str] = []
    for group, values in recipe.items():
        for key, value in values.items():
            option = _OPTION_OF_NAME[group] if key == "_name" else "--" + key.replace("_", "-")
            if value is True:
                arguments.append(option)
            elif isinstance(value, list):
                arguments += [option, ",".join(map(str, value))]
            elif value is not False and not str(value).startswith("${"):
                arguments += [option, str(value)]
    return arguments


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _read(folder: Path, name: str, what: str) -> dict[str, Any]:
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"no {what} is called {name}; there are {', '.join(_names(folder))}")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from error

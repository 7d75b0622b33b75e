"""Recipes (``configs/recipes``) and experiments (``configs/experiments``) as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from tiednmt.errors import UserError
from tiednmt.options import option_name

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ROOT / "configs" / "recipes"
EXPERIMENTS = ROOT / "configs" / "experiments"

Recipe = dict[str, dict[str, Any]]

OPTION_OF_NAME = {
    "model": "--arch",
    "task": "--task",
    "criterion": "--criterion",
    "optimizer": "--optimizer",
    "lr_scheduler": "--lr-scheduler",
}


@dataclass(frozen=True)
class Experiment:
    """Models trained on one corpus and compared; without rows fairseq trains nothing."""

    name: str
    title: str
    kind: str  # a key of scripts.lab.kinds.KINDS: how the rows are scored and shown
    prepare: tuple[str, ...]  # module of preprocess/ and its arguments
    rows: Mapping[str, Recipe]  # a recipe per row of the table
    settings: Mapping[str, Any]  # of the scoring; what there is depends on the kind
    runs_of: str | None = None  # the experiment whose data and trained rows these are
    left_out: Mapping[str, Recipe] = field(default_factory=dict)  # rows not trained this time
    average_last: int = 0  # checkpoints whose mean is scored; 0: that of the lowest loss is

    def only(self, rows: Sequence[str]) -> Experiment:
        """The same with these rows alone, in their own order.

        Raises:
            UserError: there is no such row.
        """
        unknown = [row for row in rows if row not in self.rows]
        if unknown:
            raise UserError(
                f"{self.name} has no rows {', '.join(unknown)}; it has {', '.join(self.rows)}"
            )
        chosen, left_out = (
            {row: recipe for row, recipe in self.rows.items() if (row in rows) == is_chosen}
            for is_chosen in (True, False)
        )
        return replace(self, rows=chosen, left_out=left_out)


def experiment_names() -> list[str]:
    """The experiments there are."""
    return _names(EXPERIMENTS)


def load_recipe(name: str) -> Recipe:
    """Read ``configs/recipes/<name>.yaml``: fairseq's configuration groups."""
    return _read(RECIPES, name, "recipe")


def load_experiment(name: str) -> Experiment:
    """Read ``configs/experiments/<name>.yaml`` with the recipes it names."""
    experiment = _experiment(name, _read(EXPERIMENTS, name, "experiment"))
    baselines = experiment.settings.get("baselines", ())
    unknown = ", ".join(row for row in baselines if row not in experiment.rows)
    if unknown:
        raise UserError(f"{EXPERIMENTS / name}.yaml: baselines: there are no rows {unknown}")
    rows: dict[str, str] = {}
    for row in experiment.rows:
        other = rows.setdefault(folder_name(row), row)
        if other != row:
            raise UserError(f"{EXPERIMENTS / name}.yaml: {other} and {row}: rows of one folder")
    return experiment


def _experiment(name: str, data: dict[str, Any]) -> Experiment:
    if "runs_of" in data:
        return _on_runs_of(load_experiment(data.pop("runs_of")), name, data)
    if "rows_of" in data:
        return _with_rows_of(load_experiment(data.pop("rows_of")), name, data)
    _require(name, data, "title", "kind", "prepare", *(("rows",) if "recipe" in data else ()))
    recipe = data.pop("recipe", "")
    return Experiment(
        name=name,
        title=data.pop("title"),
        kind=data.pop("kind"),
        prepare=tuple(data.pop("prepare")),
        rows={row: _row(changes, recipe) for row, changes in data.pop("rows", {}).items()},
        average_last=data.pop("average_last", 0),
        settings=data,
    )


def _on_runs_of(base: Experiment, name: str, data: dict[str, Any]) -> Experiment:
    """An experiment that measures something else of the runs of another."""
    return replace(_with_rows_of(base, name, data), runs_of=base.name)


def _with_rows_of(base: Experiment, name: str, data: dict[str, Any]) -> Experiment:
    """An experiment on rows of another, with ``changes`` if there are any."""
    _require(name, data, "title", "kind", "rows")
    unknown = ", ".join(row for row in data["rows"] if row not in base.rows)
    if unknown:
        raise UserError(f"{EXPERIMENTS / name}.yaml: {base.name} has no rows {unknown}")
    changes = data.pop("changes", {})
    return replace(
        base,
        name=name,
        title=data.pop("title"),
        kind=data.pop("kind"),
        rows={row: merge(base.rows[row], changes) for row in data.pop("rows")},
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


def options(recipe: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The options of ``fairseq-train`` that say the same as ``recipe`` says to hydra.

    A group's ``_name`` becomes the option that chooses it (``--arch``, ``--criterion``, …), every
    other key the option of that name; ``true`` is a flag, without a value, and ``false`` is left
    out. So is what only says to hydra where another value stands (``${optimization.lr}``).
    """
    given: dict[str, tuple[str, ...]] = {}
    for group, values in recipe.items():
        for key, value in values.items():
            option = OPTION_OF_NAME[group] if key == "_name" else option_name(key)
            if value is True:
                given[option] = ()
            elif isinstance(value, list | tuple):
                given[option] = (",".join(map(str, value)),)
            elif value is not False and not str(value).startswith("${"):
                given[option] = (str(value),)
    return given


def fairseq_train_arguments(recipe: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """:func:`options` as the words of a command line."""
    return [word for option, words in options(recipe).items() for word in (option, *words)]


def without_seed(recipe: Recipe) -> Recipe:
    """What is the same in the runs of all seeds."""
    common = {key: value for key, value in recipe["common"].items() if key != "seed"}
    return {**recipe, "common": common}


def run_name(row: str, seed: int) -> str:
    """The name of the run of a row with a seed; its folder's, but for spaces."""
    return row if seed == 1 else f"{row} seed {seed}"


def folder_name(row: str, seed: int = 1) -> str:
    """The name of the folder of the run of a row with a seed."""
    return run_name(row, seed).replace(" ", "-")


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _read(folder: Path, name: str, what: str) -> dict[str, Any]:
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"no {what} is called {name}; there are {', '.join(_names(folder))}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise
    except Exception as error:  # PyYAML makes dates and numbers of text, with their own errors
        raise UserError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from error
    _require_form(path, content, what)
    return content


def _require_form(path: Path, content: Any, what: str) -> None:
    """Refuse values of other types than a recipe or an experiment has.

    Raises:
        UserError: naming the file and the value.
    """
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: no {what}: it has no values by name")
    if what == "recipe":
        groups, other = content, {}
    else:
        rows = content.get("rows")
        is_list = "rows_of" in content or "runs_of" in content
        groups = rows if isinstance(rows, dict) else {}
        other = {key: content[key] for key in _TEXTS if key in content}
        names = (content.get("prepare", ()), rows if is_list else ())
        if not all(map(_are_texts, names)) or not (
            is_list or rows is None or isinstance(rows, dict)
        ) or ("rows" in content and rows is None):  # fmt: skip
            raise UserError(f"{path}: its rows or prepare are no names")
    for key, value in other.items():
        if not isinstance(value, str):
            raise UserError(f"{path}: {key} is {value!r:.60}, which is no text")
    if {content.get(key) for key in ("rows_of", "runs_of")} & {path.stem}:
        raise UserError(f"{path}: its rows are its own; name another experiment")
    if what != "recipe":
        values = [*groups.values(), content.get("changes", {})]
        parts = (each.items() for each in values if isinstance(each, dict))
        inner = [(key, group) for key, group in chain(*parts) if key != "recipe"]
        groups = {**groups, "changes": content.get("changes", {}), **dict(inner)}
    for key, group in groups.items():
        if not isinstance(group, dict):
            raise UserError(f"{path}: {key} is {group!r:.60}, which has no values by name")


_TEXTS = ("title", "kind", "recipe", "rows_of", "runs_of")


def _are_texts(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(one, str) for one in values)

"""Recipes (``configs/recipes``) and experiments (``configs/experiments``) as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from scripts.lab.records.schema import Recipe as _Recipe
from scripts.lab.records.schema import Setting
from tiednmt.errors import UserError
from tiednmt.options import option_name
from tiednmt.typed import Fault, from_json

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ROOT / "configs" / "recipes"
EXPERIMENTS = ROOT / "configs" / "experiments"

Recipe = dict[str, dict[str, Any]]

# what stands beside the folders of the runs, which have the names of the rows
_OTHER_FOLDERS = ("data", "wordsim", "translations", "analysis")

_OPTION_OF_NAME = {
    "model": "--arch",
    "task": "--task",
    "criterion": "--criterion",
    "optimizer": "--optimizer",
    "lr_scheduler": "--lr-scheduler",
}


@dataclass(frozen=True)
class Experiment:
    """Models that are trained on one corpus and compared; without rows, fairseq trains nothing."""

    name: str
    title: str
    kind: str  # a key of scripts.lab.kinds.KINDS: how the rows are scored and shown
    prepare: tuple[str, ...]  # module of preprocess/ and its arguments
    rows: Mapping[str, Recipe]  # a recipe per row of the table
    settings: Mapping[str, Any]  # of the scoring, as its kind defines them
    runs_of: str | None = None  # another experiment whose data and trained rows are used
    teachers: Mapping[str, Sequence[str]] = field(default_factory=dict)  # rows, by their student
    left_out: Mapping[str, Recipe] = field(default_factory=dict)  # rows not trained this time
    average_last: int = 0  # how many checkpoints to average for scoring; 0: the best one is scored

    def only(self, rows: Sequence[str]) -> Experiment:
        """The experiment with only these rows, in its own order.

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

    def rounds(self) -> list[list[str]]:
        """The rows and their teachers, in rounds of training: teachers are in an earlier one."""
        numbers: dict[str, int] = {}

        def number(row: str) -> int:
            if row not in numbers:
                before = map(number, self.teachers.get(row, ()))
                numbers[row] = max(before, default=-1) + 1
            return numbers[row]

        last = max(map(number, self.rows), default=-1)
        return [[row for row in numbers if numbers[row] == i] for i in range(last + 1)]

    @property
    def trained(self) -> dict[str, Recipe]:
        """The recipes of the rows and of their teachers, in the order of training."""
        recipes = {**self.left_out, **self.rows}
        return {row: recipes[row] for names in self.rounds() for row in names}


def experiment_names() -> list[str]:
    """The experiments there are."""
    return _names(EXPERIMENTS)


@dataclass(frozen=True, kw_only=True)
class _Models:
    """The file of an experiment with rows of its own, without the settings of its kind."""

    title: str
    kind: str
    prepare: Sequence[str]
    recipe: str | None = None  # of all rows that name no other
    rows: Mapping[str, Mapping[str, Mapping[str, Setting] | str]] | None = None
    teachers: Mapping[str, Sequence[str]] | None = None
    average_last: int = 0


@dataclass(frozen=True, kw_only=True)
class _ModelsOfAnother:
    """The file of an experiment on the changed rows of another one, or on its trained runs."""

    title: str
    kind: str
    rows: Sequence[str]
    rows_of: str | None = None
    runs_of: str | None = None
    changes: Mapping[str, Mapping[str, Setting]] | None = None


def load_recipe(name: str) -> Recipe:
    """Read ``configs/recipes/<name>.yaml``: fairseq's configuration groups."""
    path = _path(RECIPES, name, "recipe")
    content = _read(path)
    _typed(_Recipe, content, path)  # the lists of YAML stay lists
    return content


def load_experiment(name: str, named_by: Sequence[str] = ()) -> Experiment:
    """Read ``configs/experiments/<name>.yaml`` with the recipes it names.

    Args:
        name: of the experiment.
        named_by: the experiments whose ``rows_of`` or ``runs_of`` led to it.
    """
    path = _path(EXPERIMENTS, name, "experiment")
    content = _read(path)
    is_of_another = {"rows_of", "runs_of"} & content.keys()
    shape = _ModelsOfAnother if is_of_another else _Models
    names = [field.name for field in fields(shape)]
    known = {key: value for key, value in content.items() if key in names}
    settings = {key: value for key, value in content.items() if key not in names}
    file = _typed(shape, known, path)
    if isinstance(file, _ModelsOfAnother):
        experiment = _of_another(file, known, path, (*named_by, name))
    else:
        experiment = _of_its_own(file, known, path)
    _require_teachers(experiment, path)
    baselines = settings.get("baselines")
    named = baselines if isinstance(baselines, list) else []  # the kind checks its settings' form
    unknown = ", ".join(str(row) for row in named if row not in experiment.rows)
    if unknown:
        raise UserError(f"{path}: baselines: there are no rows {unknown}")
    rows: dict[str, str] = {}
    for row in experiment.rows:
        other = rows.setdefault(folder_name(row), row)
        if other != row:
            raise UserError(f"{path}: {other} and {row}: rows of one folder")
        if not row or "/" in row or row.startswith(".") or row in _OTHER_FOLDERS:
            raise UserError(f"{path}: {row!r}: its runs need a folder of their own; rename the row")
    return replace(experiment, settings=settings)


def _of_its_own(file: _Models, content: Mapping[str, Any], path: Path) -> Experiment:
    if file.recipe and file.rows is None:
        raise UserError(f"{path}: it lacks rows")
    if not file.prepare:
        raise UserError(f"{path}: prepare is empty; name a module of preprocess")
    rows = content.get("rows") or {}
    return Experiment(
        name=path.stem,
        title=file.title,
        kind=file.kind,
        prepare=tuple(file.prepare),
        rows={row: _row(changes, file.recipe or "") for row, changes in rows.items()},
        teachers=file.teachers or {},
        average_last=file.average_last,
        settings={},
    )


def _of_another(
    file: _ModelsOfAnother, content: Mapping[str, Any], path: Path, names: Sequence[str]
) -> Experiment:
    other = file.runs_of or file.rows_of
    if other is None or other in names:
        chain = " → ".join((*names, other)) if other else path.stem
        raise UserError(f"{path}: rows_of and runs_of must name another experiment ({chain})")
    base = load_experiment(other, names)
    unknown = ", ".join(row for row in file.rows if row not in base.rows)
    if unknown:
        raise UserError(f"{path}: {base.name} has no rows {unknown}")
    changes = content.get("changes") or {}
    return replace(
        base,
        name=path.stem,
        title=file.title,
        kind=file.kind,
        rows={row: merge(base.rows[row], changes) for row in file.rows},
        runs_of=base.name if file.runs_of else base.runs_of,
        teachers={row: names for row, names in base.teachers.items() if row in file.rows},
    )


def _require_teachers(experiment: Experiment, path: Path) -> None:
    """Refuse teachers that are no rows above their student."""
    rows = [*experiment.rows]
    for student, teachers in experiment.teachers.items():
        if student not in rows:
            raise UserError(f"{path}: teachers: there is no row {student}")
        above = rows[: rows.index(student)]
        unknown = ", ".join(row for row in teachers if row not in above)
        if unknown or not teachers:
            raise UserError(
                f"{path}: teachers: {student}: must be rows above it"
                + (f", and {unknown} is none" if unknown else ", one or several")
            )


def _row(changes: Mapping[str, Any], recipe: str) -> Recipe:
    """The experiment's recipe, or the row's own, with the row's changes."""
    groups = dict(changes)
    return merge(load_recipe(groups.pop("recipe", recipe)), groups)


def merge(recipe: Recipe, changes: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """The recipe with the values of ``changes``, group by group."""
    groups = [*recipe, *(group for group in changes if group not in recipe)]
    return {group: {**recipe.get(group, {}), **changes.get(group, {})} for group in groups}


def options(recipe: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The options of ``fairseq-train`` for a recipe, which is written for hydra.

    The ``_name`` of a group becomes the option that chooses it (``--arch``, ``--criterion``, …),
    every other key the option of that name. ``true`` is a flag without a value; ``false`` and
    ``null`` are left out, and so are references to other values (``${optimization.lr}``).
    """
    chosen: dict[str, tuple[str, ...]] = {}
    for group, values in recipe.items():
        for key, value in values.items():
            option = _OPTION_OF_NAME[group] if key == "_name" else option_name(key)
            if value is True:
                chosen[option] = ()
            elif isinstance(value, list | tuple):
                chosen[option] = (",".join(map(str, value)),)
            elif value is not None and value is not False and not str(value).startswith("${"):
                chosen[option] = (str(value),)
    return chosen


def fairseq_train_arguments(recipe: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """:func:`options` as the words of a command line."""
    return [word for option, words in options(recipe).items() for word in (option, *words)]


def without_seed(recipe: Recipe) -> Recipe:
    """The recipe without the seed: what all runs of a row have in common."""
    common = {key: value for key, value in recipe["common"].items() if key != "seed"}
    return {**recipe, "common": common}


def run_name(row: str, seed: int) -> str:
    """The name of the run of a row with a seed, such as ``none seed 2``."""
    return row if seed == 1 else f"{row} seed {seed}"


def folder_name(row: str, seed: int = 1) -> str:
    """The folder of the run of a row with a seed, such as ``none-seed-2``."""
    return run_name(row, seed).replace(" ", "-")


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _path(folder: Path, name: str, what: str) -> Path:
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"no {what} is called {name}; there are {', '.join(_names(folder))}")
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise
    except Exception as error:  # PyYAML makes dates and numbers of text, with their own errors
        raise UserError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: must be a mapping (name: value)")
    return content


def _typed(shape: Any, content: Mapping[str, Any], path: Path) -> Any:
    """``content`` as a value of the type ``shape``.

    Raises:
        UserError: it is of another form; names the file and the value.
    """
    try:
        return from_json(shape, content)
    except Fault as fault:
        raise UserError(f"{path}: {fault}") from None

"""Records from before they had a format, as records of format 1.

They say what was trained in a command line alone, which is read here for the last time. The recipe
is that of the experiment of the record's name, where it makes the same command line.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import yaml

from scripts.lab.run.specs import (
    OPTION_OF_NAME,
    RECIPES,
    experiment_names,
    fairseq_train_arguments,
    load_experiment,
    load_recipe,
    without_seed,
)
from tiednmt.options import option_name

Json = dict[str, Any]
_PROJECTION_SEARCH = "Penn Treebank, small LSTM, variants of projection regularisation"


def converted(old: Json) -> Json:
    """What a record of format 1 says in place of ``old``.

    Raises:
        KeyError: ``old`` lacks something that every such record holds.
    """
    record = dict(old)
    if "benchmark" in record:
        kind, experiment = "benchmark", f"benchmark-{record.pop('benchmark')}"
        return {"kind": kind, "experiment": experiment, "title": record.pop("what"), **record}
    if "readings" in record:
        kind = record["experiment"]
        record["variants"] = record.pop("readings")
        return {"kind": kind, "title": _PROJECTION_SEARCH, **record}
    record = {"kind": record.pop("task"), **record}
    record["rows"] = [_row(row, record) for row in record["rows"]]
    if "similarity" in record:
        _embeddings(record)
    return record


def _row(old: Json, record: Json) -> Json:
    row = dict(old)
    row.setdefault("seeds", [*range(1, len(record["curves"][row["name"]]) + 1)])
    row["recipe"] = _recipe(record["experiment"], row["name"], shlex.split(row["training_command"]))
    if "note" in record:  # a language model
        parts = ("train", "valid", "test")
        row["perplexity"] = {part: row.pop(part) for part in parts if part in row}
        names = {"parameters": "paper_parameters", "train": "paper_train", "valid": "paper_valid"}
        paper = {key: row.pop(name, None) for key, name in {**names, "test": "paper"}.items()}
        row["paper"] = {key: value for key, value in paper.items() if value is not None}
    return row


def _embeddings(record: Json) -> None:
    spread = record.pop("over_seeds")
    record["similarity"] = {
        name: {
            **{count: one[count] for count in ("covered", "pairs")},
            "rho": _known({key: value for key, value in one.items() if isinstance(value, dict)}),
        }
        for name, one in spread["similarity"].items()
    }
    if "correlation" in record:
        record["correlation"] = _known(spread["correlation"])
    if record["kind"] == "skip-gram":
        words = shlex.split(record["training_command"])
        options = {_key(name): yaml.safe_load(value) for name, value in _options(words).items()}
        record["options"] = {
            name: value for name, value in options.items() if name not in ("text", "seed", "out")
        }


def _known(figures: Json) -> Json:
    return {name: one if one["seeds"] else None for name, one in figures.items()}


def _recipe(experiment: str, row: str, command: Sequence[str]) -> Json:
    """All of fairseq's settings but the seed."""
    options = _options(command)
    for name in ("--seed", "--cpu", "--save-dir"):
        options.pop(name, None)
    if experiment in experiment_names():
        recipe = without_seed(load_experiment(experiment).rows.get(row, {"common": {}}))
        if _options(fairseq_train_arguments(recipe)) == options:
            return recipe
    groups = _groups()
    found: dict[str, Json] = {}
    for option, value in options.items():
        group = groups.get(option, "model")
        key = "_name" if option in OPTION_OF_NAME.values() else _key(option)
        found.setdefault(group, {})[key] = yaml.safe_load(value) if value else True
    return found


def _groups() -> dict[str, str]:
    """By option the group that it stands in, in our recipes."""
    groups = {option: group for group, option in OPTION_OF_NAME.items()}
    for path in RECIPES.glob("*.yaml"):
        for group, values in load_recipe(path.stem).items():
            groups.update({option_name(key): group for key in values})
    return groups


def _options(command: Sequence[str]) -> dict[str, str]:
    """The value of each option, empty for a flag."""
    options: dict[str, str] = {}
    name = ""
    for word in command:
        if word.startswith("--"):
            name = word
            options[name] = ""
        elif name:
            options[name] = f"{options[name]} {word}".strip()
    return options


def _key(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")

"""Records of experiments, read from a file that may hold anything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from scripts.experiments import RESULTS_OF_TASK
from scripts.report import settings
from scripts.translation_results import METRICS
from tiednmt.errors import UserError

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Each:
    """A mapping whose keys are free; every value has ``shape``."""

    shape: Any


@dataclass(frozen=True)
class Maybe:
    """What may be missing from an object, but has ``shape`` where it is there."""

    shape: Any


NUMBER = int | float
OVER_SEEDS = {"mean": NUMBER, "sd": NUMBER | None, "seeds": int}
SCORE = {"ci": (NUMBER, NUMBER), "signature": str, "over_seeds": OVER_SEEDS}
ROW = {
    "name": str,
    "parameters": int,
    "checkpoint_bytes": int,
    "updates": int,
    "epochs": int,
    "training_seconds": NUMBER,
    "training_command": str,
}
RECORD = {
    "experiment": str,
    "title": str,
    "rows": [ROW],
    "curves": Each([[{"update": int, "epoch": int, "nll": NUMBER}]]),
    "machine": {
        "device": str,
        "processor": str,
        "cores": int,
        "threads_per_run": int,
        "runs_side_by_side": int,
        "python": str,
    },
    "versions": Each(str),
    "command": str,
}
COMPARISON = {
    "baseline": str,
    "system": str,
    "metric": str,
    "delta": NUMBER,
    "p_value": NUMBER,
}
SHAPES: dict[str, dict[str, Any]] = {
    "translation": {
        **RECORD,
        "baseline": str,
        "rows": [{**ROW, "share": NUMBER, "test": Each({"bleu": SCORE, "chrf": SCORE})}],
        "comparisons": Each([COMPARISON]),
        "beam": int,
        "vocabulary": {"source": int, "target": int, "joint": int},
        "samples": [Each(str)],
    },
    "tied_language_modeling": {
        **RECORD,
        "rows": [
            {
                **ROW,
                "test": OVER_SEEDS,
                "paper": NUMBER | None,
                **dict.fromkeys(("train", "valid"), Maybe(OVER_SEEDS)),
                **dict.fromkeys(("paper_train", "paper_valid"), Maybe(NUMBER | None)),
            }
        ],
        "note": str,
    },
}


def read_record(path: Path) -> Record:
    """The record in ``path``.

    Raises:
        UserError: it is no record of an experiment, damaged, or of another version.
    """
    record = read_json(path)
    if not isinstance(record, dict) or "task" not in record:
        raise UserError(
            f"{path}: no record of an experiment; give the folder of a finished run "
            "(python -m scripts.reproduce), or a record kept from one"
        )
    task = record["task"]
    if task not in RESULTS_OF_TASK:
        raise UserError(f"{path}: task {task!r}; there are {', '.join(RESULTS_OF_TASK)}")
    fault = _fault(record, SHAPES[task]) or _disagreement(record)
    if fault:
        raise UserError(
            f"{path}: {fault}, so it is damaged or of another version; "
            "run its experiment again to write it anew"
        )
    return record


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        UserError: it is missing, or not JSON in UTF-8.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON, cut short or damaged ({error})") from error


def _fault(value: Any, shape: Any, where: str = "") -> str | None:
    """What sets ``value`` apart from ``shape``, with its place; None where it fits.

    A shape is a type or a union, a dict of the keys that must be there, :class:`Each`, a list of
    one shape for lists that are not empty, or a tuple of as many shapes as the list has values.
    """
    if isinstance(shape, tuple):
        if not isinstance(value, list) or len(value) != len(shape):
            return f"{where} is no list of {len(shape)}"
        parts = [(value[i], part, f"{where}[{i}]") for i, part in enumerate(shape)]
        return _first_fault(parts)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{where} is no object"
        needed = {key: part for key, part in shape.items() if not isinstance(part, Maybe)}
        missing = next((key for key in needed if key not in value), None)
        if missing:
            return f"{where or 'it'} lacks {missing}"
        known = {
            key: part.shape if isinstance(part, Maybe) else part
            for key, part in shape.items()
            if key in value
        }
        parts = [(value[key], part, f"{where}.{key}") for key, part in known.items()]
    elif isinstance(shape, Each):
        if not isinstance(value, dict):
            return f"{where} is no object"
        parts = [(part, shape.shape, f"{where}.{key}") for key, part in value.items()]
    elif isinstance(shape, list):
        if not isinstance(value, list) or not value:
            return f"{where} is no list, or empty"
        parts = [(part, shape[0], f"{where}[{i}]") for i, part in enumerate(value)]
    else:
        wrong = isinstance(value, bool) or not isinstance(value, shape)
        if wrong or (isinstance(value, float) and not math.isfinite(value)):
            return f"{where} is {value!r:.40}"
        return None
    return _first_fault(parts)


def _first_fault(parts: list[tuple[Any, Any, str]]) -> str | None:
    faults = (_fault(value, shape, where.lstrip(".")) for value, shape, where in parts)
    return next(filter(None, faults), None)


def _disagreement(record: Record) -> str | None:
    """Parts of the record that should speak of the same rows and test sets, but do not."""
    names = [row["name"] for row in record["rows"]]
    if len(set(names)) < len(names):
        return "two rows have one name"
    if list(record["curves"]) != names:
        return "its curves are not those of its rows"
    if len({frozenset(row) for row in record["rows"]}) > 1:
        return "its rows have not the same keys"
    for i, row in enumerate(record["rows"]):
        if not settings.is_training(row["training_command"]):
            return f"rows[{i}].training_command is no command line that says where it writes"
    return _disagreement_on_tests(record, names) if record["task"] == "translation" else None


def _disagreement_on_tests(record: Record, names: list[str]) -> str | None:
    baseline, subsets = record["baseline"], list(record["rows"][0]["test"])
    if baseline not in names:
        return f"its baseline {baseline} is none of its rows"
    if not subsets or any(list(row["test"]) != subsets for row in record["rows"]):
        return "its rows have not the same test sets"
    compared = {
        (subset, c["system"], c["metric"])
        for subset, comparisons in record["comparisons"].items()
        for c in comparisons
        if c["baseline"] == baseline
    }
    others = [name for name in names if name != baseline]
    if not compared.issuperset(product(subsets, others, METRICS)):
        return f"its comparisons with {baseline} leave out a row, test set or metric"
    wanted = {"source", "reference", *names}
    if any(wanted - sample.keys() for sample in record["samples"]):
        return "a sample lacks a row's translation"
    return None

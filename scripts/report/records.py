"""Records of experiments, read from a file that may hold anything."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from scripts.language_model_results import LanguageModelResults
from scripts.measures import Measured
from scripts.report import settings
from scripts.report.shapes import NUMBER, Each, Filled, Maybe, fault, read_json
from scripts.translation_results import METRICS, TranslationResults
from tiednmt.errors import UserError

Record = Mapping[str, Any]

MEASURED_TASKS: dict[str, type[Measured]] = {
    "translation": TranslationResults,
    "tied_language_modeling": LanguageModelResults,
}


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
    "rows": Filled(ROW),
    "curves": Each(Filled(Filled({"update": int, "epoch": int, "nll": NUMBER}))),
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
        "rows": Filled({**ROW, "share": NUMBER, "test": Each({"bleu": SCORE, "chrf": SCORE})}),
        "comparisons": Each([COMPARISON]),
        "beam": int,
        "vocabulary": {"source": int, "target": int, "joint": int},
        "samples": [Each(str)],
    },
    "tied_language_modeling": {
        **RECORD,
        "rows": Filled(
            {
                **ROW,
                "test": OVER_SEEDS,
                "paper": NUMBER | None,
                **dict.fromkeys(("train", "valid"), Maybe(OVER_SEEDS)),
                **dict.fromkeys(("paper_train", "paper_valid"), Maybe(NUMBER)),
            }
        ),
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
    if task not in MEASURED_TASKS:
        raise UserError(f"{path}: task {task!r}; shown are {', '.join(MEASURED_TASKS)}")
    found = fault(record, SHAPES[task]) or _disagreement(record)
    if found:
        raise UserError(
            f"{path}: {found}, so it is damaged or of another version; "
            "run its experiment again to write it anew"
        )
    return record


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

"""Records of experiments, read from a file that may hold anything."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from scripts.lab.kinds.embeddings import COUNTS, correlation_of, names_in, similarity_of
from scripts.lab.kinds.language_model import LanguageModelResults
from scripts.lab.kinds.translation import METRICS, TranslationResults
from scripts.lab.records import settings
from scripts.lab.records.figures import Measured
from scripts.lab.records.shapes import NUMBER, Each, Filled, Maybe, fault, read_json
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
MEAN_OVER_SEEDS = {**OVER_SEEDS, "mean": NUMBER | None}
OF_EMBEDDINGS = {
    **RECORD,
    "rows": [ROW],
    "seeds": int,
    "paper": {"similarity": Maybe(str), "correlation": Maybe(str)},
    "similarity": Each(Each(NUMBER | None)),
    "correlation": Maybe(Each(NUMBER | None)),
    "over_seeds": {
        "similarity": Each(Each(int | dict)),
        "correlation": Maybe(Each(MEAN_OVER_SEEDS)),
    },
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
    "embeddings": OF_EMBEDDINGS,
    "skip-gram": {**OF_EMBEDDINGS, "training_command": str},
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
    if task not in SHAPES:
        raise UserError(f"{path}: task {task!r}; shown are {', '.join(SHAPES)}")
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
    if record["task"] == "translation":
        return _disagreement_on_tests(record, names)
    return None if record["task"] in MEASURED_TASKS else _disagreement_on_embeddings(record)


def _disagreement_on_embeddings(record: Record) -> str | None:
    measured, spread = record["similarity"], record["over_seeds"]["similarity"]
    if not measured or list(measured) != list(spread):
        return "similarity and over_seeds.similarity are not of the same sets"
    for name, found in measured.items():
        if not all(isinstance(found.get(count), int) for count in COUNTS):
            return f"similarity.{name} lacks a count of pairs"
        figures = {key: value for key, value in spread[name].items() if key not in COUNTS}
        wrong = fault(figures, Each(MEAN_OVER_SEEDS), f"over_seeds.similarity.{name}")
        if wrong:
            return wrong
    sets = list(similarity_of(record).values())
    if len({tuple(found.figures) for found in sets}) > 1:
        return "its sets are not of the same embeddings"
    for found in filter(None, (sets[0], correlation_of(record))):
        unknown = set(names_in(found.order or "")) - {"", *found.figures}
        if unknown:
            return f"paper: {found.order} names {', '.join(sorted(unknown))}, which is not measured"
    return None


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

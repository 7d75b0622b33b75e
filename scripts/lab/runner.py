"""Run an experiment: prepare the corpus, train every row, score the test sets, record it all.

Every step is skipped where its outcome is there already, so the same command goes on after an
interruption.
"""

from __future__ import annotations

import os
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from preprocess.files import write_json, write_whole
from preprocess.manifest import data_bins
from preprocess.parallel import cores
from scripts.lab.kinds.embeddings import EmbeddingResults, SkipGramResults
from scripts.lab.kinds.language_model import FirstUpdatesResults, LanguageModelResults
from scripts.lab.kinds.translation import TranslationResults
from scripts.lab.run.processes import call, gpus
from scripts.lab.run.provenance import machine, package_versions
from scripts.lab.run.specs import Experiment, Recipe, fairseq_train_arguments, merge
from scripts.lab.run.training import Run, curve, parameters, train
from tiednmt.errors import UserError


class Results(Protocol):
    """How the experiments of a task are scored and shown."""

    @property
    def packages(self) -> Sequence[str]:
        """Packages that the scores depend on, beside those of every record."""

    @property
    def measures_similarity(self) -> bool:
        """Whether ``out/wordsim`` is to hold the word-similarity sets."""

    def measure(
        self,
        rows: Sequence[dict[str, Any]],
        runs: Mapping[str, Sequence[Run]],
        data: Path,
        out: Path,
        jobs: int,
        seeds: Sequence[int],
    ) -> dict[str, Any]:
        """Score the runs (row → a run a seed) and return what the record says of it.

        ``rows`` of it are those given, each with its scores.
        """

    @staticmethod
    def table(record: Mapping[str, Any]) -> str:
        """The record as a Markdown table, with what must be known to read it."""

    @staticmethod
    def page(record: Mapping[str, Any]) -> str:
        """The table, and what else is worth a look after a run."""

    @staticmethod
    def plot(record: Mapping[str, Any], out: Path) -> None:
        """Draw the record's pictures in the folder ``out``."""


RESULTS_OF_TASK: dict[str, type[Results]] = {
    "embeddings": EmbeddingResults,
    "first-updates": FirstUpdatesResults,
    "skip-gram": SkipGramResults,
    "translation": TranslationResults,
    "tied_language_modeling": LanguageModelResults,
}


def results_of(experiment: Experiment) -> Results:
    """What scores and shows ``experiment``, by its task.

    Raises:
        UserError: there is nothing for that task, or it does not know one of the settings.
    """
    make = RESULTS_OF_TASK.get(experiment.task)
    if make is None:
        raise UserError(
            f"{experiment.name}: task {experiment.task}; experiments are of the tasks "
            f"{', '.join(RESULTS_OF_TASK)}"
        )
    try:
        return make(**experiment.settings)
    except TypeError as error:
        raise UserError(f"{experiment.name}: settings: {error}") from error


def run_experiment(
    experiment: Experiment,
    out: Path,
    command: str,
    raw: Path | None = None,
    jobs: int | None = None,
    seeds: Sequence[int] = (1,),
    wordsim: Path | None = None,
) -> dict[str, Any]:
    """Run all steps and return the record that is also left as ``out/record.json``.

    Leaves ``table.md`` and plots (``.png`` and ``.svg``) beside it.

    Args:
        experiment: what to run.
        out: folder of the prepared data, the runs and the record; data and runs of another
            experiment are in the folder of its name beside it.
        command: the command line to record, with which anybody can repeat this.
        raw: folder of raw files, instead of a download.
        jobs: runs at the same time; by default one a GPU, or one a core where there is none.
        seeds: every row is trained with each of these.
        wordsim: folder of the word-similarity sets, for what is measured with them, instead of a
            download.
    """
    results = results_of(experiment)
    trained = out.parent / experiment.runs_of if experiment.runs_of else out
    data = trained / "data"
    _prepare(experiment.prepare, data, raw)
    if results.measures_similarity:
        _prepare(("preprocess.wordsim",), out / "wordsim", wordsim)
    runs = {
        name: [_run(name, recipe, seed, data, trained) for seed in seeds]
        for name, recipe in experiment.rows.items()
    }
    seed_by_seed = [run for of_seed in zip(*runs.values(), strict=True) for run in of_seed]
    jobs = jobs or min(len(gpus()) or cores(), len(seed_by_seed) or len(seeds))
    train(seed_by_seed, jobs)
    rows = [_row(name, of_row, seeds) for name, of_row in runs.items()]
    record = {
        "experiment": experiment.name,
        "task": experiment.task,
        "title": experiment.title,
        **results.measure(rows, runs, data, out, jobs, seeds),
        "curves": {name: [curve(run) for run in of_row] for name, of_row in runs.items()},
        "machine": machine(jobs),
        "versions": package_versions(*results.packages),
        "command": command,
    }
    write_json(out / "record.json", record)
    with write_whole(out / "table.md") as file:
        file.write(results.page(record) + "\n")
    results.plot(record, out)
    return record


def _prepare(prepare: Sequence[str], data: Path, raw: Path | None) -> None:
    module, *arguments = prepare
    if raw is not None:
        arguments += ["--raw", str(raw)]
    call([sys.executable, "-m", module, *arguments, "--dest", str(data)])


def _run(row: str, recipe: Recipe, seed: int, data: Path, out: Path) -> Run:
    arguments = fairseq_train_arguments(merge(recipe, {"common": {"seed": seed}}))
    if not torch.cuda.is_available():
        arguments.append("--cpu")
    name = row if seed == 1 else f"{row} seed {seed}"
    limits = recipe["optimization"]
    return Run(
        name=name,
        folder=out / name.replace(" ", "-"),
        arguments=(os.pathsep.join(map(str, data_bins(data))), *arguments),
        max_update=limits.get("max_update", 0),
        max_epoch=limits.get("max_epoch", 0),
    )


def _row(name: str, runs: Sequence[Run], seeds: Sequence[int]) -> dict[str, Any]:
    """A row before it is scored; sizes and command are those of the first seed."""
    first = runs[0]
    last = [torch.load(run.folder / "checkpoint_last.pt", map_location="cpu") for run in runs]
    seconds = [state["extra_state"]["previous_training_time"] for state in last]
    return {
        "name": name,
        "parameters": parameters(first),
        "checkpoint_bytes": first.checkpoint.stat().st_size,
        "updates": last[0]["optimizer_history"][-1]["num_updates"],
        "epochs": curve(first)[-1]["epoch"],
        "training_seconds": round(statistics.fmean(seconds)),
        "training_command": shlex.join(first.command),
        "seeds": list(seeds),
    }

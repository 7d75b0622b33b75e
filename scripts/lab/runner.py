"""Run an experiment: prepare the corpus, train every row, score the test sets, record it all.

A step whose results exist is skipped, so the same command continues after an interruption.
"""

from __future__ import annotations

import math
import os
import shlex
import statistics
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from fairseq.tasks import TASK_REGISTRY

import tiednmt.plugin  # noqa: F401
from scripts.lab.kinds import KINDS
from scripts.lab.kinds.kind import Scoring, Trained
from scripts.lab.records.schema import ExperimentRecord, Record, TrainedRow
from scripts.lab.records.settings import compare
from scripts.lab.run.distillation import taught
from scripts.lab.run.processes import call, gpus
from scripts.lab.run.provenance import provenance
from scripts.lab.run.specs import (
    Experiment,
    fairseq_train_arguments,
    folder_name,
    merge,
    run_name,
    without_seed,
)
from scripts.lab.run.summary import RunSummary, read_summary
from scripts.lab.run.training import Run, train, trained_on
from scripts.lab.store import read_record, write_figures, write_record
from tiednmt.embeddings.gradients import GradientShares, gradient_shares_in
from tiednmt.errors import UserError
from tiednmt.processor import cores
from tiednmt.seeds import SeedStatistics, over_seeds
from tiednmt.text.manifest import data_bins
from tiednmt.typed import Fault, from_json

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Options:
    """How an experiment is run.

    ``raw`` is a folder of raw files and ``wordsim`` one of word-similarity sets, both instead of a
    download. ``jobs`` runs train in parallel: by default one per GPU, or one per core without a
    GPU. Every row is trained with each of ``seeds``.
    """

    raw: Path | None = None
    wordsim: Path | None = None
    jobs: int | None = None
    seeds: Sequence[int] = (1,)


def run_experiment(
    experiment: Experiment, out: Path, command: str, options: Options | None = None
) -> Record:
    """Run all steps; ``out`` then holds ``record.json``, ``table.md`` and the plots.

    Args:
        experiment: what to run.
        out: folder of the prepared data, the runs and the record; the data and runs of another
            experiment are in a sibling folder of that experiment's name.
        command: the command line to record, with which anybody can repeat this.
        options: how to run it.

    Returns:
        The record.

    Raises:
        UserError: the experiment cannot be run as it is written, or a step failed.
    """
    options = options or Options()
    scoring = scoring_of(experiment)
    _require_task(experiment)
    _require_checkpoints(experiment)
    prepare(experiment, scoring, out, options)
    trained = train_rows(experiment, out, options)
    about = provenance(command, trained.jobs, tuple(scoring.packages))
    runs = [run for of_row in trained.runs.values() for run in of_row]
    about = replace(about, machine=trained_on(runs) or about.machine)
    record = KINDS[experiment.kind].record(
        kind=experiment.kind,
        experiment=experiment.name,
        title=experiment.title,
        curves=_curves(trained.runs),
        gradients=_gradients(trained.runs),
        **scoring.score(trained),
        **vars(about),
    )
    record = _with_earlier_baselines(record, experiment, out / "record.json")
    record = write_record(out / "record.json", record)
    write_figures(record, out)
    return record


def _with_earlier_baselines(new: R, experiment: Experiment, path: Path) -> R:
    """``new`` with the baselines that an earlier call trained and scored and this one did not.

    Baselines with another recipe, or with scores that cannot be compared, are left out.
    """
    wanted = {*experiment.settings.get("baselines", ())} & experiment.left_out.keys()
    if not wanted or not path.is_file():
        return new
    try:
        return _joined(new, experiment, read_record(path), wanted)
    except (Fault, UserError) as reason:
        named = ", ".join(sorted(wanted))
        print(f"not compared with {named} of an earlier call: {reason}", file=sys.stderr)
        return new


def _joined(new: R, experiment: Experiment, earlier: Record, wanted: Container[str]) -> R:
    """``new`` with those rows of an earlier record that are ``wanted`` and have the same recipe."""
    if not isinstance(earlier, ExperimentRecord) or earlier.kind != new.kind:
        return new
    rows = [
        row
        for row in earlier.rows
        if row.name in wanted
        and row.averaged == experiment.average_last
        and [*row.teachers] == [*experiment.teachers.get(row.name, ())]
        and not compare([row.recipe, without_seed(experiment.left_out[row.name])]).apart
    ]
    if not rows:
        return new
    names = [row.name for row in rows]
    gradients = {name: of for name, of in (earlier.gradients or {}).items() if name in names}
    kept = replace(
        earlier,
        rows=rows,
        curves={name: earlier.curves[name] for name in names},
        gradients=gradients or None,
    )
    joined: R = KINDS[new.kind].join(kept, new)
    return joined


def scoring_of(experiment: Experiment) -> Scoring:
    """How ``experiment`` is scored, by its kind.

    Raises:
        UserError: there is no such kind, or a setting is not one of its own or has another form.
    """
    scored = {name: kind.scoring for name, kind in KINDS.items() if kind.scoring}
    if experiment.kind not in scored:
        raise UserError(
            f"{experiment.name}: kind {experiment.kind}; experiments are of the kinds "
            f"{', '.join(scored)}"
        )
    try:
        scoring: Scoring = from_json(scored[experiment.kind], dict(experiment.settings))
    except Fault as fault:
        raise UserError(f"{experiment.name}: settings: {fault}") from None
    return scoring


def _require_task(experiment: Experiment) -> None:
    """Refuse rows whose task is not that of the kind, and teachers of what does not translate."""
    task = KINDS[experiment.kind].task
    if experiment.teachers and task != "translation":
        raise UserError(f"{experiment.name}: teachers: only translation models have them")
    if task and not experiment.rows:
        raise UserError(f"{experiment.name}: has no rows to train")
    for name, recipe in experiment.trained.items():
        trained = recipe["task"]["_name"]
        if task and not issubclass(TASK_REGISTRY.get(trained, object), TASK_REGISTRY[task]):
            raise UserError(
                f"{experiment.name}: the row {name} is of the task {trained}; the kind "
                f"{experiment.kind} needs {task}"
            )


def _require_checkpoints(experiment: Experiment) -> None:
    """Refuse rows that keep fewer checkpoints than will be averaged."""
    for name, recipe in experiment.trained.items():
        if _kept(recipe.get("checkpoint", {})) < experiment.average_last:
            raise UserError(
                f"{experiment.name}: average_last is {experiment.average_last}, but the recipe of "
                f"the row {name} keeps fewer checkpoints; raise checkpoint.keep_last_epochs"
            )


def _kept(checkpoint: Mapping[str, Any]) -> float:
    """How many checkpoints fairseq keeps, not counting the last and the best."""
    if checkpoint.get("save_interval_updates"):
        limit = checkpoint.get("keep_interval_updates", -1)
    else:
        limit = checkpoint.get("keep_last_epochs", -1)
        if checkpoint.get("no_epoch_checkpoints"):
            limit = 0
    return math.inf if limit < 0 else float(limit)


def prepare(experiment: Experiment, scoring: Scoring, out: Path, options: Options) -> None:
    """Prepare the corpus, and the word-similarity sets where they are needed."""
    command = experiment.prepare
    if KINDS[experiment.kind].task == "translation":
        command = (*command, "--no-commands")  # the experiment trains and scores itself
    _preprocess(command, _trained_in(experiment, out) / "data", options.raw)
    if scoring.measures_similarity:
        _preprocess(("preprocess.wordsim",), out / "wordsim", options.wordsim)


def _preprocess(prepare: Sequence[str], dest: Path, raw: Path | None) -> None:
    module, *arguments = prepare
    if raw is not None:
        arguments += ["--raw", str(raw)]
    call([sys.executable, "-m", module, *arguments, "--dest", str(dest)])


def _trained_in(experiment: Experiment, out: Path) -> Path:
    return out.parent / experiment.runs_of if experiment.runs_of else out


def train_rows(experiment: Experiment, out: Path, options: Options) -> Trained:
    """Train every row with every seed, and its teachers before it.

    All rows of the first seed come first.
    """
    folder = _trained_in(experiment, out)
    rounds = experiment.rounds()
    most = max((len(names) for names in rounds), default=1) * len(options.seeds)
    jobs = options.jobs or min(len(gpus()) or cores(), most)
    runs: dict[str, list[Run]] = {}
    for names in rounds:
        for name in names:
            runs[name] = [
                _run(experiment, name, seed, folder, _data(experiment, name, runs, i, folder))
                for i, seed in enumerate(options.seeds)
            ]
        of_seeds = zip(*(runs[name] for name in names), strict=True)
        train([run for of_seed in of_seeds for run in of_seed], jobs)
    rows = [_row(experiment, name, runs[name], options.seeds) for name in experiment.rows]
    chosen = {name: runs[name] for name in experiment.rows}
    return Trained(rows, chosen, folder / "data", out, options.seeds, jobs)


def _data(
    experiment: Experiment, row: str, runs: Mapping[str, Sequence[Run]], i: int, folder: Path
) -> Path:
    """The corpus that a row is trained on with the seed of number ``i``.

    It is the prepared one, with the translations of the row's teachers if it has any.
    """
    teachers = [runs[name][i] for name in experiment.teachers.get(row, ())]
    if not teachers:
        return folder / "data"
    dest = folder / f"taught-by-{'+'.join(run.folder.name for run in teachers)}"
    return taught(folder / "data", [run.checkpoint for run in teachers], dest)


def _run(experiment: Experiment, row: str, seed: int, folder: Path, data: Path) -> Run:
    recipe = experiment.trained[row]
    arguments = fairseq_train_arguments(merge(recipe, {"common": {"seed": seed}}))
    if not torch.cuda.is_available():
        arguments.append("--cpu")
    limits = recipe["optimization"]
    return Run(
        name=run_name(row, seed),
        folder=folder / folder_name(row, seed),
        arguments=(os.pathsep.join(map(str, data_bins(data))), *arguments),
        max_update=limits.get("max_update", 0),
        max_epoch=limits.get("max_epoch", 0),
        average_last=experiment.average_last,
    )


def _row(
    experiment: Experiment, name: str, runs: Sequence[Run], seeds: Sequence[int]
) -> TrainedRow:
    """A row before it is scored; sizes and command are those of the first seed."""
    first, summaries = runs[0], _summaries(runs)
    seconds = statistics.fmean(summary.training_seconds for summary in summaries)
    return TrainedRow(
        name=name,
        parameters=summaries[0].parameters,
        checkpoint_bytes=first.best.stat().st_size,
        updates=summaries[0].updates,
        epochs=summaries[0].epochs,
        training_seconds=round(seconds),
        seeds=seeds,
        recipe=without_seed(experiment.rows[name]),
        training_command=shlex.join(first.command),
        input_scales=_input_scales(summaries),
        averaged=first.average_last,
        teachers=tuple(experiment.teachers.get(name, ())),
    )


def _summaries(runs: Sequence[Run]) -> list[RunSummary]:
    return [read_summary(run.folder) for run in runs]


def _curves(runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    return {
        name: [summary.validations for summary in _summaries(of_row)]
        for name, of_row in runs.items()
    }


def _input_scales(summaries: Sequence[RunSummary]) -> dict[str, SeedStatistics] | None:
    """Learned input scales, over the seeds."""
    learned = [summary.input_scales for summary in summaries if summary.input_scales]
    if not learned:
        return None
    return {use: over_seeds([scales[use] for scales in learned]) for use in learned[0]}


def _gradients(runs: Mapping[str, Sequence[Run]]) -> dict[str, list[GradientShares]] | None:
    """What ``--measure-gradients`` wrote, for the rows measured with every seed."""
    measured = {
        name: [shares for run in of_row if (shares := gradient_shares_in(run.folder))]
        for name, of_row in runs.items()
    }
    found = {name: shares for name, shares in measured.items() if len(shares) == len(runs[name])}
    return found or None

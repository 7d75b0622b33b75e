"""Run an experiment: prepare the corpus, train every row, score the test sets, record it all.

Every step is skipped where its outcome is there already, so the same command goes on after an
interruption.
"""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from preprocess.files import read_lines, write_json, write_whole
from preprocess.parallel import cores
from scripts.plots import plot_learning_curves, plot_score_over_parameters
from scripts.recipes import ROOT, Experiment, Recipe, fairseq_train_arguments
from scripts.scoring import compare
from scripts.tables import samples_table, translation_table
from scripts.training import Run, curve, train
from tiednmt.errors import UserError

PACKAGES = ("tiednmt", "torch", "fairseq-fixed", "sacrebleu", "subword-nmt", "sacremoses", "numpy")
SAMPLES = 5


def run_experiment(
    experiment: Experiment,
    out: Path,
    command: str,
    raw: Path | None = None,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Run all steps and return the record that is also left as ``out/record.json``.

    Leaves ``table.md``, ``learning-curves.{png,svg}`` and ``bleu-over-parameters.{png,svg}``
    beside it.

    Args:
        experiment: what to run.
        out: folder of the prepared data, the runs and the record.
        command: the command line to record, with which anybody can repeat this.
        raw: folder of raw files, instead of a download.
        jobs: rows trained at the same time; by default one a core, one on a GPU.
    """
    data = out / "data"
    _prepare(experiment, data, raw)
    runs = {name: _run(name, recipe, data, out) for name, recipe in experiment.rows.items()}
    jobs = jobs or (1 if torch.cuda.is_available() else min(cores(), len(runs)))
    train(runs.values(), jobs)
    scores = _score(experiment, runs, data, out)
    record = {**_record(experiment, runs, scores, data, jobs), "command": command}
    write_json(out / "record.json", record)
    with write_whole(out / "table.md") as file:
        file.write(f"{translation_table(record)}\n\n{samples_table(record)}\n")
    plot_learning_curves(record, out / "learning-curves")
    plot_score_over_parameters(record, out / "bleu-over-parameters")
    return record


def _prepare(experiment: Experiment, data: Path, raw: Path | None) -> None:
    module, *arguments = experiment.prepare
    if raw is not None:
        arguments += ["--raw", str(raw)]
    _call([sys.executable, "-m", module, *arguments, "--dest", str(data)])


def _run(name: str, recipe: Recipe, data: Path, out: Path) -> Run:
    arguments = fairseq_train_arguments(recipe)
    if not torch.cuda.is_available():
        arguments.append("--cpu")
    return Run(
        name=name,
        folder=out / name.replace(" ", "-"),
        arguments=(str(data / "data-bin"), *arguments),
        updates=recipe["optimization"]["max_update"],
    )


def _score(
    experiment: Experiment, runs: Mapping[str, Run], data: Path, out: Path
) -> dict[str, Any]:
    """The JSON of ``scripts.evaluate`` over all rows; the baseline comes first."""
    scores = out / "scores.json"
    checkpoints = [run.checkpoint for run in runs.values()]
    newest = max(path.stat().st_mtime for path in checkpoints)
    if not scores.exists() or scores.stat().st_mtime < newest:
        names = sorted(runs, key=lambda name: name != experiment.baselines[0])
        command = [sys.executable, "-m", "scripts.evaluate"]
        command += [f"{name}={runs[name].checkpoint}" for name in names]
        command += ["--data", str(data), "--beam", str(experiment.beam)]
        command += ["--json", str(scores), "--output", str(out / "translations")]
        for subset in experiment.subsets:
            command += ["--subset", subset]
        _call(command)
    return json.loads(scores.read_text(encoding="utf-8"))


def _call(command: Sequence[str]) -> None:
    if subprocess.run(command, cwd=ROOT).returncode:
        raise UserError(f"this step failed: {shlex.join(command)}")


def _record(
    experiment: Experiment,
    runs: Mapping[str, Run],
    scores: Mapping[str, Any],
    data: Path,
    jobs: int,
) -> dict[str, Any]:
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    rows = [_row(run, scores) for run in runs.values()]
    whole = next(row["parameters"] for row in rows if row["name"] == experiment.baselines[0])
    for row in rows:
        row["share"] = round(row["parameters"] / whole, 4)
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "baseline": experiment.baselines[0],
        "rows": rows,
        "comparisons": _comparisons(experiment, scores, data / "raw", manifest["target"]),
        "beam": experiment.beam,
        "vocabulary": manifest["vocabulary"],
        "samples": _samples(runs, scores, data, manifest),
        "curves": {name: curve(run) for name, run in runs.items()},
        "machine": machine(jobs),
        "versions": package_versions(),
    }


def _row(run: Run, scores: Mapping[str, Any]) -> dict[str, Any]:
    state = torch.load(run.folder / "checkpoint_last.pt", map_location="cpu")
    test = {}
    for subset, result in scores["subset"].items():
        system = next(s for s in result["systems"] if s["name"] == run.name)
        test[subset] = {metric: system[metric] for metric in ("bleu", "chrf", "ter")}
        parameters = system["parameters"]
    return {
        "name": run.name,
        "parameters": parameters,
        "checkpoint_bytes": run.checkpoint.stat().st_size,
        "updates": state["optimizer_history"][-1]["num_updates"],
        "training_seconds": round(state["extra_state"]["previous_training_time"]),
        "test": test,
        "training_command": shlex.join(run.command),
    }


def _comparisons(
    experiment: Experiment, scores: Mapping[str, Any], raw: Path, language: str
) -> dict[str, list[dict[str, Any]]]:
    """Every row against every baseline, by test set."""
    comparisons: dict[str, list[dict[str, Any]]] = {}
    for subset, result in scores["subset"].items():
        comparisons[subset] = list(result["comparisons"])
        texts = {s["name"]: list(read_lines(Path(s["translations"]))) for s in result["systems"]}
        references = list(read_lines(raw / f"{subset}.{language}"))
        for baseline in experiment.baselines[1:]:
            others = {name: text for name, text in texts.items() if name != baseline}
            found = compare({baseline: texts[baseline], **others}, references)
            comparisons[subset] += [asdict(comparison) for comparison in found]
    return comparisons


def _samples(
    runs: Mapping[str, Run],
    scores: Mapping[str, Any],
    data: Path,
    manifest: Mapping[str, Any],
) -> list[dict[str, str]]:
    """Sentences spread over the first test set, with every row's translation."""
    subset, result = next(iter(scores["subset"].items()))
    columns = {
        "source": data / "raw" / f"{subset}.{manifest['source']}",
        "reference": data / "raw" / f"{subset}.{manifest['target']}",
        **{s["name"]: Path(s["translations"]) for s in result["systems"]},
    }
    lines = {name: list(read_lines(path)) for name, path in columns.items()}
    count = len(lines["source"])
    return [
        {name: text[i * count // SAMPLES] for name, text in lines.items()} for i in range(SAMPLES)
    ]


def package_versions() -> dict[str, str]:
    """Versions of the packages that the figures depend on."""
    return {name: version(name) for name in PACKAGES}


def machine(jobs: int) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "processor": _processor(),
        "cores": cores(),
        "threads_per_run": max(1, cores() // jobs),
        "runs_side_by_side": jobs,
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

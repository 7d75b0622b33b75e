"""Model folders to begin with, from finished runs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

import tiednmt.plugin  # noqa: F401
from scripts.lab.records.schema import TranslationRecord, TranslationRow, Validation
from scripts.lab.run.specs import ROOT, folder_name
from scripts.lab.run.training import Run
from scripts.lab.store import read_record
from tiednmt.errors import UserError
from tiednmt.export.card import Origin, Scores, scores_of
from tiednmt.export.model_folder import write_model_folder
from tiednmt.export.trained import TrainedModel
from tiednmt.translation.evaluation import evaluate, load_system
from tiednmt.translation.prepared import Prepared
from tiednmt.translation.settings import Search

MODELS = ROOT / "configs" / "models.yaml"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The ``row`` of an experiment that becomes a ``folder`` of at most ``megabytes``."""

    folder: str
    row: str
    megabytes: float


@dataclass(frozen=True)
class Made:
    """A folder of ``size`` bytes, with its BLEU by test set."""

    folder: Path
    size: int
    bleu: Mapping[str, float]


def wanted_models() -> dict[str, Wanted]:
    """By experiment."""
    content = yaml.safe_load(MODELS.read_text(encoding="utf-8"))
    return {experiment: Wanted(**values) for experiment, values in content.items()}


def make(run: Path, out: Path) -> Made:
    """Make the model folder of a finished run in ``out``, and score it.

    Raises:
        UserError: the run is not finished, or no model is wanted of its experiment; its
            checkpoint is missing; the folder is there already, or larger than it may be.
    """
    if not (run / "record.json").is_file():
        raise UserError(f"{run}: holds no record.json; run the experiment to its end first")
    record = read_record(run / "record.json")
    wanted = wanted_models().get(record.experiment)
    if wanted is None or not isinstance(record, TranslationRecord):
        known = ", ".join(wanted_models())
        raise UserError(f"{run}: no model comes from {record.experiment}; one does from {known}")
    row = next((row for row in record.rows if row.name == wanted.row), None)
    if row is None:
        raise UserError(f"{run}: its record has no row {wanted.row}")
    seed = best_seed(row, record.curves[row.name])
    checkpoint = Run(
        row.name, run / folder_name(row.name, seed), (), average_last=row.averaged
    ).checkpoint
    trained = TrainedModel.from_checkpoint(checkpoint, run / "data")
    origin = _origin(record, row, seed)
    folder = out / wanted.folder
    with tempfile.TemporaryDirectory() as place:
        trial = Path(place) / wanted.folder
        write_model_folder(trial, trained, int8=True)
        size = sum(path.stat().st_size for path in trial.rglob("*") if path.is_file())
        if size > wanted.megabytes * 1e6:
            raise UserError(
                f"{run}: its model would have {size / 1e6:.2f} MB, more than the "
                f"{wanted.megabytes:g} that {MODELS.name} allows"
            )
        scores = _scores(trial, run / "data", [*row.test], record.beam)
    write_model_folder(folder, trained, True, scores, origin)
    return Made(folder, size, {name: of["bleu"]["score"] for name, of in scores.items()})


def best_seed(row: TranslationRow, curves: Sequence[Sequence[Validation]]) -> int:
    """The seed whose scored checkpoint has the lowest validation loss, so that no test set chooses.

    For a mean of last checkpoints, the loss of the last validation counts.
    """
    losses = [
        points[-1].nll if row.averaged else min(point.nll for point in points) for points in curves
    ]
    return row.seeds[losses.index(min(losses))]


def _origin(record: TranslationRecord, row: TranslationRow, seed: int) -> Origin:
    place = [*row.seeds].index(seed)
    return Origin(
        experiment=record.experiment,
        row=row.name,
        seed=seed,
        updates=row.updates,
        command=record.command,
        versions=record.versions,
        full_scores={
            subset: scores.bleu.seeds[place].score if scores.bleu.seeds else scores.bleu.score
            for subset, scores in row.test.items()
        },
    )


def _scores(folder: Path, data: Path, subsets: list[str], beam: int) -> Scores:
    prepared = Prepared(data)
    with load_system(folder.name, [folder], prepared, cpu=True) as system:
        evaluation = evaluate([system], prepared, subsets, search=Search(beam=beam))
        return scores_of(evaluation, folder, system.weights) or {}

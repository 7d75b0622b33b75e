"""How language-model experiments are scored: perplexity; and how further seeds join."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from scripts.lab.figures.language_model import SUBSETS, figures, figures_of_first_updates
from scripts.lab.kinds.kind import Kind, Trained
from scripts.lab.records.gradients import GradientShares
from scripts.lab.records.joining import require_all_seeds
from scripts.lab.records.schema import (
    LanguageModelRecord,
    LanguageModelRow,
    PaperFigures,
    Provenance,
)
from scripts.lab.records.seeds import SeedStatistics, over_seeds, pooled
from scripts.lab.run.processes import Child, Place, side_by_side
from scripts.lab.run.training import Run

# --- scoring -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LanguageModelScoring:
    """Perplexity of every run by part of the corpus, and what a paper says of the rows."""

    subsets: Sequence[str] = SUBSETS
    paper: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # PaperFigures by row
    note: str = ""  # what a reader must know to compare with the paper

    packages: ClassVar[Sequence[str]] = ()
    measures_similarity: ClassVar[bool] = False

    def score(self, trained: Trained) -> dict[str, Any]:
        """The rows with their perplexities; as many runs are scored at a time as were trained."""
        every = [
            (run, subset)
            for of_row in trained.runs.values()
            for run in of_row
            for subset in self.subsets
        ]
        missing = [one for one in every if not _is_scored(*one)]
        starts = [partial(_Scoring, run, subset, trained.data) for run, subset in missing]
        side_by_side(starts, trained.jobs)
        rows = [
            LanguageModelRow(
                **vars(row),
                perplexity={
                    subset: over_seeds([_perplexity(run, subset) for run in trained.runs[row.name]])
                    for subset in self.subsets
                },
                paper=PaperFigures(**self.paper.get(row.name, {})),
            )
            for row in trained.rows
        ]
        return {"rows": rows, "note": self.note}


@dataclass(frozen=True)
class FirstUpdatesScoring(LanguageModelScoring):
    """What was validated on the way is all that is known of models whose training is only begun."""

    subsets: Sequence[str] = ()


def _scores(run: Run, subset: str) -> Path:
    """The JSON of ``scripts.perplexity``."""
    return run.folder / f"perplexity-{subset}.json"


def _is_scored(run: Run, subset: str) -> bool:
    scores = _scores(run, subset)
    return scores.exists() and scores.stat().st_mtime >= run.checkpoint.stat().st_mtime


def _perplexity(run: Run, subset: str) -> float:
    scores = json.loads(_scores(run, subset).read_text(encoding="utf-8"))
    return round(scores["perplexity"], 4)


class _Scoring(Child):
    """``scripts.perplexity`` under way."""

    def __init__(self, run: Run, subset: str, data: Path, place: Place) -> None:
        scores = _scores(run, subset)
        command = [sys.executable, "-m", "scripts.perplexity", str(run.checkpoint)]
        command += ["--data", str(data), "--subset", subset, "--json", str(scores)]
        what = f"scoring of {run.name} on {subset}"
        print(what, file=sys.stderr)
        super().__init__(what, command, scores.with_suffix(".log"), place)


# --- further rows and seeds --------------------------------------------------------------------


def join(kept: LanguageModelRecord, new: LanguageModelRecord) -> LanguageModelRecord:
    """The record ``kept`` with what ``new`` adds: rows, and further seeds of the same recipe.

    A row of another recipe, or with all the seeds that are there and perhaps more, takes the place
    of the one that was kept.

    Raises:
        UserError: a row was trained with some of the seeds that are there.
    """
    rows = {row.name: row for row in kept.rows}
    curves, gradients = dict(kept.curves), {**(kept.gradients or {})}
    for row in new.rows:
        name, more = row.name, new.curves[row.name]
        further = name in rows and _is_further(rows[name], row)
        rows[name] = _of_all_seeds(rows[name], row) if further else row
        curves[name] = [*curves[name], *more] if further else more
        earlier_ones = gradients.pop(name, ())
        measured = [*(earlier_ones if further else ()), *_measured(new, name)]
        if len(measured) == len(rows[name].seeds):
            gradients[name] = measured
    earlier = [
        *kept.earlier,
        Provenance(machine=kept.machine, versions=kept.versions, command=kept.command),
    ]
    if curves == new.curves:  # nothing of the other is left
        earlier = []
    return replace(
        new,
        rows=[*rows.values()],
        curves=curves,
        gradients=gradients or None,
        earlier=earlier,
    )


def _measured(record: LanguageModelRecord, name: str) -> Sequence[GradientShares]:
    return (record.gradients or {}).get(name, ())


def _is_further(old: LanguageModelRow, new: LanguageModelRow) -> bool:
    """Whether two rows are the same training with different seeds."""
    if old.recipe != new.recipe or {*new.seeds} >= {*old.seeds}:
        return False
    if {*new.seeds} & {*old.seeds}:
        require_all_seeds(new.name, old.seeds, new.seeds)
    return True


def _of_all_seeds(old: LanguageModelRow, new: LanguageModelRow) -> LanguageModelRow:
    parts = [(len(row.seeds), row.training_seconds) for row in (old, new)]
    seconds = sum(n * s for n, s in parts) / sum(n for n, _ in parts)
    return replace(
        old,
        perplexity={
            subset: pooled(statistics, new.perplexity[subset])
            for subset, statistics in old.perplexity.items()
        },
        input_scales=_pooled(old.input_scales, new.input_scales),
        seeds=[*old.seeds, *new.seeds],
        training_seconds=round(seconds),
    )


def _pooled(
    old: Mapping[str, SeedStatistics] | None, new: Mapping[str, SeedStatistics] | None
) -> dict[str, SeedStatistics] | None:
    return {use: pooled(one, new[use]) for use, one in old.items()} if old and new else None


KIND = Kind(
    record=LanguageModelRecord,
    scoring=LanguageModelScoring,
    task="tied_language_modeling",
    figures=figures,
    join=join,
)
FIRST_UPDATES = replace(KIND, scoring=FirstUpdatesScoring, figures=figures_of_first_updates)

"""How language-model experiments are scored (perplexity), and how further seeds join."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from scripts.lab.figures.language_model import SUBSETS, figures, figures_of_first_updates
from scripts.lab.kinds.kind import Kind, Trained
from scripts.lab.records.joining import by_row
from scripts.lab.records.schema import (
    LanguageModelRecord,
    LanguageModelRow,
    PaperFigures,
)
from scripts.lab.run.kept import is_current, read_kept
from scripts.lab.run.processes import Child, Resources, announced, side_by_side
from scripts.lab.run.training import Run
from tiednmt.seeds import over_seeds, pooled
from tiednmt.text.manifest import MANIFEST

# --- scoring -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LanguageModelScoring:
    """Perplexity of every run per subset of the corpus, beside the paper's figures."""

    subsets: Sequence[str] = SUBSETS
    paper: Mapping[str, PaperFigures] | None = None  # by row
    note: str = ""  # what a reader must know to compare with the paper

    packages: ClassVar[Sequence[str]] = ()
    measures_similarity: ClassVar[bool] = False

    def score(self, trained: Trained) -> dict[str, Any]:
        """The rows with their perplexities; scores as many runs in parallel as were trained."""
        starts = [
            _scoring(run, subset, trained.data)
            for of_row in trained.runs.values()
            for run in of_row
            for subset in self.subsets
            if not is_current(_scores(run, subset), run.checkpoint, trained.data / MANIFEST)
        ]
        side_by_side(starts, trained.jobs)
        rows = [
            LanguageModelRow(
                **vars(row),
                perplexity={
                    subset: over_seeds([_perplexity(run, subset) for run in trained.runs[row.name]])
                    for subset in self.subsets
                },
                paper=(self.paper or {}).get(row.name, PaperFigures()),
            )
            for row in trained.rows
        ]
        return {"rows": rows, "note": self.note}


@dataclass(frozen=True)
class FirstUpdatesScoring(LanguageModelScoring):
    """Models after their first updates: only the validations made during training."""

    subsets: Sequence[str] = ()


def _scores(run: Run, subset: str) -> Path:
    """The JSON of ``scripts.perplexity``: one file per checkpoint that can be scored."""
    mean = "" if run.checkpoint == run.best else f"-of-{run.checkpoint.stem}"
    return run.folder / f"perplexity{mean}-{subset}.json"


def _perplexity(run: Run, subset: str) -> float:
    return read_kept(_scores(run, subset), lambda scores: round(scores["perplexity"], 4))


def _scoring(run: Run, subset: str, data: Path) -> Callable[[Resources], Child]:
    """Starts ``scripts.perplexity``."""
    scores = _scores(run, subset)
    command = [sys.executable, "-m", "scripts.perplexity", str(run.checkpoint)]
    command += ["--data", str(data), "--subset", subset, "--json", str(scores)]
    what = f"scoring of {run.name} on {subset}"
    return partial(announced, what, command, scores.with_suffix(".log"))


# --- further rows and seeds --------------------------------------------------------------------


def join(kept: LanguageModelRecord, new: LanguageModelRecord) -> LanguageModelRecord:
    """The record ``kept`` with the rows and seeds that ``new`` adds; see :func:`by_row`."""
    joined = by_row(kept, new, _pooled)
    return replace(
        new,
        rows=joined.rows,
        curves=joined.curves,
        gradients=joined.gradients,
        earlier=joined.earlier,
    )


def _pooled(old: LanguageModelRow, new: LanguageModelRow) -> dict[str, Any]:
    both = {
        subset: pooled(statistics, new.perplexity[subset])
        for subset, statistics in old.perplexity.items()
    }
    return {"perplexity": both}


KIND = Kind(
    record=LanguageModelRecord,
    scoring=LanguageModelScoring,
    task="tied_language_modeling",
    figures=figures,
    join=join,
)
FIRST_UPDATES = replace(KIND, scoring=FirstUpdatesScoring, figures=figures_of_first_updates)

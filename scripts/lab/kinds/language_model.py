"""How language-model experiments are scored and shown: perplexity beside a paper's."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from scripts.lab.kinds.kind import Figures, Kind, Trained
from scripts.lab.records.figures import Measure, Score, perplexity
from scripts.lab.records.joining import require_all_seeds
from scripts.lab.records.schema import (
    LanguageModelRecord,
    LanguageModelRow,
    PaperFigures,
    Provenance,
)
from scripts.lab.records.seeds import interval_of_mean, mean_and_sd, over_seeds, pooled
from scripts.lab.run.processes import Child, Place, side_by_side
from scripts.lab.run.training import Run
from scripts.lab.show.markdown import duration, markdown, trained_on
from scripts.lab.show.pictures import CurveAxes, plot_curves

SUBSETS = ("train", "valid", "test")

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
    curves = dict(kept.curves)
    for row in new.rows:
        name, more = row.name, new.curves[row.name]
        further = name in rows and _is_further(rows[name], row)
        rows[name] = _of_all_seeds(rows[name], row) if further else row
        curves[name] = [*curves[name], *more] if further else more
    earlier = [
        *kept.earlier,
        Provenance(machine=kept.machine, versions=kept.versions, command=kept.command),
    ]
    if curves == new.curves:  # nothing of the other is left
        earlier = []
    return replace(new, rows=[*rows.values()], curves=curves, earlier=earlier)


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
        seeds=[*old.seeds, *new.seeds],
        training_seconds=round(seconds),
    )


# --- figures -----------------------------------------------------------------------------------


def table(record: LanguageModelRecord) -> str:
    """Sizes and perplexities beside the paper's, and how they were come by."""
    rows = record.rows
    head, cells = [""], [[row.name] for row in rows]
    for what in ("parameters", *_subsets(record)):
        papers = [getattr(row.paper, what) for row in rows]
        compared = any(paper is not None for paper in papers)
        head += [what, "paper"] if compared else [what]
        for row, line, paper in zip(rows, cells, papers, strict=True):
            line.append(_figure(row, what))
            if compared:
                line.append("–" if paper is None else str(paper))
    head += ["epochs", "training"]
    for row, line in zip(rows, cells, strict=True):
        line += [str(row.epochs), duration(row.training_seconds)]
    return "\n".join((markdown(head, cells), "", conditions(record)))


def conditions(record: LanguageModelRecord) -> str:
    """How it was scored, seeds, machine, and the experiment's note."""
    sentences = (
        f"{record.title}. Perplexity of the checkpoint that is best on the validation set, "
        f"in one stream, its state carried{_spread(record.rows)}; {trained_on(record.machine)}.",
        record.note,
    )
    return " ".join(filter(None, sentences))


def measures(record: LanguageModelRecord) -> list[Measure]:
    """Perplexity by part of the corpus; differences are to the first row."""
    return [
        Measure(
            metric="perplexity",
            subset=subset,
            scores={row.name: _score(row, record.rows[0], subset) for row in record.rows},
            places=1,
            drawn=subset != "train",
            headline=subset == "test",
            better="lower",
        )
        for subset in _subsets(record)
    ]


CURVE_AXES = CurveAxes(
    x="epoch",
    y=lambda point: perplexity(point.nll),
    y_label="validation perplexity",
    logarithmic=True,
)


def plot(record: LanguageModelRecord, out: Path) -> None:
    """``perplexity-over-epochs`` of the validation set."""
    plot_curves(record, out / "perplexity-over-epochs", CURVE_AXES)


def _subsets(record: LanguageModelRecord) -> list[str]:
    return [subset for subset in SUBSETS if subset in record.rows[0].perplexity]


def _figure(row: LanguageModelRow, what: str) -> str:
    if what == "parameters":
        return f"{row.parameters:,}"
    return mean_and_sd(row.perplexity[what], places=1)


def _spread(rows: Sequence[LanguageModelRow]) -> str:
    counts = {len(row.seeds) for row in rows}
    several = sorted(counts - {1})
    if not several:
        return ""
    where = " where a spread stands" if 1 in counts else ""
    numbers = " or ".join(map(str, several))
    return f"; mean ± standard deviation of {numbers} seeds{where}"


def _score(row: LanguageModelRow, baseline: LanguageModelRow, subset: str) -> Score:
    over = row.perplexity[subset]
    return Score(
        value=over.mean,
        sd=over.sd,
        interval=interval_of_mean(over),
        difference=None if row is baseline else over.mean - baseline.perplexity[subset].mean,
        paper=getattr(row.paper, subset),
    )


KIND = Kind(
    record=LanguageModelRecord,
    scoring=LanguageModelScoring,
    task="tied_language_modeling",
    figures=Figures(table, table, conditions, plot, measures, CURVE_AXES),
    join=join,
)


# --- figures of models whose training is only begun --------------------------------------------


def first_updates_table(record: LanguageModelRecord) -> str:
    """Validation perplexity over the updates."""
    updates = [point.update for point in record.curves[record.rows[0].name][0]]
    head = ["validation perplexity after", "parameters", *(f"{u:,} updates" for u in updates)]
    cells = [
        [row.name, f"{row.parameters:,}"]
        + [f"{perplexity(point.nll):,.0f}" for point in record.curves[row.name][0]]
        for row in record.rows
    ]
    return "\n".join((markdown(head, cells), "", first_updates_conditions(record)))


def first_updates_conditions(record: LanguageModelRecord) -> str:
    """What was begun, where, and by what command."""
    # of all rows, which may have joined
    command = f"python -m scripts.reproduce {record.experiment}"
    return f"{record.title}; {trained_on(record.machine)}. `{command}`"


FIRST_UPDATES_AXES = replace(CURVE_AXES, x="update")


def first_updates_plot(record: LanguageModelRecord, out: Path) -> None:
    """``perplexity-over-updates`` of the validation set."""
    plot_curves(record, out / "perplexity-over-updates", FIRST_UPDATES_AXES)


FIRST_UPDATES = replace(
    KIND,
    scoring=FirstUpdatesScoring,
    figures=Figures(
        table=first_updates_table,
        page=first_updates_table,
        conditions=first_updates_conditions,
        plot=first_updates_plot,
        measures=measures,
        curve_axes=FIRST_UPDATES_AXES,
    ),
)

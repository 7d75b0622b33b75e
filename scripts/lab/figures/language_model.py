"""Figures of language models: perplexity compared with a paper's, or their first updates."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from scripts.lab.figures import uses
from scripts.lab.figures.experiment import (
    NOTE_OF_SEEDS,
    Measure,
    Score,
    duration,
    findings,
    lead,
    learning_curves,
    over_parameters,
    repeated,
    scored_checkpoints,
    spread,
    trained_on,
)
from scripts.lab.records.schema import LanguageModelRecord, LanguageModelRow, Validation
from tiednmt.seeds import interval_of_mean, mean_and_sd
from tiednmt.show.figures import Axis, Cell, Chart, Figures, Picture, Table, perplexity

SUBSETS = ("train", "valid", "test")
PERPLEXITY = Axis("validation perplexity", logarithmic=True)
ONE_SEED = "One seed was trained, so there are no confidence intervals."


def figures(record: LanguageModelRecord) -> Figures:
    """Sizes and perplexities compared with the paper's, and how they were measured."""
    rows = record.rows
    measures = {subset: _measure(rows, subset) for subset in _subsets(rows)}
    shown = [measures["test"] if "test" in measures else [*measures.values()][-1]]
    several = any(len(row.seeds) > 1 for row in rows)
    charts = [over_parameters(measures[s], rows) for s in _subsets(rows) if s != "train"]
    curves = _curves(record, "epoch")
    return Figures(
        title=record.title,
        names=record.row_names,
        lead=lead(rows[0], shown, others=len(rows) > 1),
        findings=findings(rows, rows[0], shown),
        summary=[
            Picture(
                "perplexity-over-parameters", charts, note=NOTE_OF_SEEDS if several else ONE_SEED
            ),
            Picture("perplexity-over-epochs", [curves]),
            _scores(rows),
            conditions(record),
            *uses.in_summary(record),
        ],
        parts=[*uses.in_parts(record), *repeated(record, curves)],
    )


def figures_of_first_updates(record: LanguageModelRecord) -> Figures:
    """Validation perplexity over the updates, the mean over the seeds."""
    runs = record.curves
    updates = sorted({point.update for row in runs.values() for run in row for point in run})
    rows = [
        [row.name, f"{row.parameters:,}", *(_after(update, runs[row.name]) for update in updates)]
        for row in record.rows
    ]
    head = ["validation perplexity after", "parameters", *(f"{u:,} updates" for u in updates)]
    # the command is that of all rows, which may have joined
    command = f"python -m scripts.reproduce {record.experiment}"
    curves = _curves(record, "update")
    return Figures(
        title=record.title,
        names=record.row_names,
        summary=[
            Picture("perplexity-over-updates", [curves]),
            Table(head, rows, caption="Validation perplexity"),
            f"{record.title}; {trained_on(record, record.earlier)}. `{command}`",
            *uses.in_summary(record),
        ],
        parts=[*uses.in_parts(record), *repeated(record, curves)],
    )


def _after(update: int, runs: Sequence[Sequence[Validation]]) -> str:
    """The mean perplexity of a row after so many updates; a dash where it was not measured."""
    measured = [perplexity(point.nll) for run in runs for point in run if point.update == update]
    return f"{statistics.fmean(measured):,.0f}" if measured else "–"


def conditions(record: LanguageModelRecord) -> str:
    """How it was scored, seeds, machine, and the experiment's note."""
    where = trained_on(record, record.earlier)
    sentences = (
        f"{record.title}. Perplexity of {scored_checkpoints(record.rows)}, "
        f"in one stream, its state carried{spread(record.rows)}; {where}.",
        record.note,
    )
    return " ".join(filter(None, sentences))


def _curves(record: LanguageModelRecord, x: str) -> Chart:
    return learning_curves(record, x, PERPLEXITY, lambda point: perplexity(point.nll))


def _subsets(rows: Sequence[LanguageModelRow]) -> list[str]:
    return [subset for subset in SUBSETS if subset in rows[0].perplexity]


def _scores(rows: Sequence[LanguageModelRow]) -> Table:
    head = [""]
    cells: list[list[str | Cell]] = [[row.name] for row in rows]
    for what in ("parameters", *_subsets(rows)):
        papers = [getattr(row.paper, what) for row in rows]
        compared = any(paper is not None for paper in papers)
        head += [what, "paper"] if compared else [what]
        for row, line, paper in zip(rows, cells, papers, strict=True):
            line.append(_figure(row, what))
            if compared:
                line.append("–" if paper is None else str(paper))
    for row, line in zip(rows, cells, strict=True):
        line += [str(row.epochs), duration(row.training_seconds)]
    caption = "Sizes and perplexities; below each perplexity the 95% interval of the mean"
    return Table([*head, "epochs", "training"], cells, caption=caption)


def _figure(row: LanguageModelRow, what: str) -> str | Cell:
    if what == "parameters":
        return f"{row.parameters:,}"
    score = row.perplexity[what]
    interval = interval_of_mean(score)
    return Cell(mean_and_sd(score, places=1), "{:.1f}–{:.1f}".format(*interval) if interval else "")


def _measure(rows: Sequence[LanguageModelRow], subset: str) -> Measure:
    """Perplexity on a part of the corpus; differences are to the first row."""
    scores = {row.name: _score(row, rows[0], subset) for row in rows}
    return Measure("perplexity", subset, scores, places=1, better="lower")


def _score(row: LanguageModelRow, baseline: LanguageModelRow, subset: str) -> Score:
    over = row.perplexity[subset]
    return Score(
        value=over.mean,
        interval=interval_of_mean(over),
        difference=None if row is baseline else over.mean - baseline.perplexity[subset].mean,
    )

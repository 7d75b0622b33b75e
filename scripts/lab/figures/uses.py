"""Tables and charts of the uses of the embeddings: shares of the gradient, learned scales."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from scripts.lab.records.schema import ExperimentRecord, TrainedRow
from tiednmt.embeddings.gradients import Curve, GradientShares
from tiednmt.embeddings.uses import COSINE, NOTE, SHARE, further_tables, points, short, tables
from tiednmt.seeds import mean_and_sd
from tiednmt.show.figures import Axis, Block, Chart, Part, Picture
from tiednmt.show.parts import Run, over_training


def in_summary(record: ExperimentRecord) -> list[Block]:
    """Learned scales, and the shares over the training, where there are any."""
    scales = _learned_scales(record.rows)
    blocks: list[Block] = [scales] if scales else []
    if record.gradients:
        charts = _by_curve(record, lambda run: run.shares, SHARE, "Gradient from the {}")
        note = f"{NOTE} Lines are means over the seeds."
        blocks += [Picture("gradient-shares", charts, note=note), *tables(record.gradients)]
    return blocks


def in_parts(record: ExperimentRecord) -> list[Part]:
    """Cosines between the uses, and the shares by frequency, where they were measured."""
    if not record.gradients:
        return []
    charts = _by_curve(record, lambda run: run.cosines, COSINE, "Cosine of {}")
    shown: list[Block] = [Picture("gradient-cosines", charts)] if charts else []
    shown += further_tables(record.gradients)
    return [Part("Gradients of the uses, by frequency and between them", shown, folded=True)]


def _by_curve(
    record: ExperimentRecord,
    curves: Callable[[GradientShares], Mapping[str, Curve]],
    y: Axis,
    title: str,
) -> list[Chart]:
    """A chart per use or pair of uses, with a line per row."""
    measured = record.gradients or {}
    names = dict.fromkeys(
        name for runs in measured.values() for run in runs for name in curves(run)
    )

    def line(runs: Iterable[GradientShares], name: str) -> Sequence[Run]:
        return _mean([points(run, curves(run)[name], y) for run in runs if name in curves(run)])

    return [
        over_training(
            title.format(short(name)),
            {row: line(runs, name) for row, runs in measured.items()},
            y,
            "update",
            record.row_names,
        )
        for name in names
    ]


def _mean(runs: Sequence[Run]) -> Sequence[Run]:
    """One line for runs that were measured at the same updates; the runs themselves otherwise."""
    if len({tuple(update for update, _ in run) for run in runs}) != 1:
        return runs
    return [[(at[0][0], fmean(value for _, value in at)) for at in zip(*runs, strict=True)]]


def _learned_scales(rows: Iterable[TrainedRow]) -> str:
    """Where the learned scales of the lookups ended, in a sentence."""
    ended = [
        f"{row.name}: "
        + ", ".join(f"{short(use)} {mean_and_sd(at, 2)}" for use, at in row.input_scales.items())
        for row in rows
        if row.input_scales
    ]
    return f"Learned scales of the lookups, as they ended: {'; '.join(ended)}." if ended else ""

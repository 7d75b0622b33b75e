"""What experiments show of the uses of the embeddings: shares of the gradient, learned scales."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from scripts.lab.records.schema import ExperimentRecord, TrainedRow
from tiednmt.embeddings.gradients import Curve, GradientShares
from tiednmt.embeddings.uses import COSINE, NOTE, SHARE, further_tables, points, short, tables
from tiednmt.seeds import mean_and_sd
from tiednmt.show.figures import Axis, Block, Chart, Part, Picture
from tiednmt.show.parts import over_training


def in_summary(record: ExperimentRecord) -> list[Block]:
    """Learned scales, and the shares over the training, where there are any."""
    scales = _learned_scales(record.rows)
    blocks: list[Block] = [scales] if scales else []
    if record.gradients:
        charts = _by_curve(record, lambda run: run.shares, SHARE, "Gradient from the {}")
        blocks += [Picture("gradient-shares", charts, note=NOTE), *tables(record.gradients)]
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
    """A chart per use or pair of uses, with a line per run."""
    measured = record.gradients or {}
    names = dict.fromkeys(
        name for runs in measured.values() for run in runs for name in curves(run)
    )
    return [
        over_training(
            title.format(short(name)),
            {
                row: [points(run, curves(run)[name], y) for run in runs if name in curves(run)]
                for row, runs in measured.items()
            },
            y,
            "update",
            record.row_names,
        )
        for name in names
    ]


def _learned_scales(rows: Iterable[TrainedRow]) -> str:
    """Where the learned scales of the lookups ended, in a sentence."""
    ended = [
        f"{row.name}: "
        + ", ".join(f"{short(use)} {mean_and_sd(at, 2)}" for use, at in row.input_scales.items())
        for row in rows
        if row.input_scales
    ]
    return f"Learned scales of the lookups, as they ended: {'; '.join(ended)}." if ended else ""

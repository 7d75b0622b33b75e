"""How a new record joins the one that was kept of the same experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from scripts.lab.records.schema import (
    ExperimentRecord,
    LanguageModelRecord,
    ProjectionSearchRecord,
    Provenance,
    Record,
    TrainedRow,
    TranslationRecord,
    Validation,
)
from tiednmt.embeddings.gradients import GradientShares
from tiednmt.errors import UserError
from tiednmt.seeds import pooled

R = TypeVar("R", bound=Record)
E = TypeVar("E", bound=ExperimentRecord)
Row = TypeVar("Row", bound=TrainedRow)


def newest(kept: R, new: R) -> R:
    """The new record alone."""
    return new


def whole(kept: E, new: E) -> E:
    """The new record, if it has all rows of the kept one, and all seeds of those with its recipe.

    Raises:
        UserError: a row or a seed would be lost.
    """
    there = {row.name: row for row in new.rows}
    for row in kept.rows:
        if row.name not in there:
            raise UserError(
                f"{new.experiment}: the row {row.name} of the kept record would be lost; "
                "run it too, or delete the record"
            )
        if row.recipe == there[row.name].recipe:
            _require_all_seeds(row.name, row.seeds, there[row.name].seeds)
    return new


@dataclass(frozen=True)
class Joined(Generic[Row]):
    """The rows of two records of one experiment, those of the kept record first.

    ``from_kept`` has the names of the rows that include seeds of the kept record.
    """

    rows: Sequence[Row]
    curves: Mapping[str, Sequence[Sequence[Validation]]]
    gradients: Mapping[str, Sequence[GradientShares]] | None
    earlier: Sequence[Provenance]
    from_kept: Sequence[str]


def by_row(
    kept: LanguageModelRecord | TranslationRecord,
    new: LanguageModelRecord | TranslationRecord,
    scores: Callable[[Row, Row], Mapping[str, Any]],
) -> Joined[Row]:
    """The kept record with what ``new`` adds: rows, and further seeds of the same recipe.

    A new row replaces the kept one if it has another recipe, number of averaged checkpoints or
    other teachers, or if it has at least the same seeds. A row of which some seeds were kept
    already, as those of a baseline beside another row's further seeds, stays as it was kept.

    Args:
        kept: the record under ``results/``.
        new: a record of the same experiment, with rows of the same type.
        scores: joins the scores of a row's kept and further seeds; returns the fields with them.

    Raises:
        UserError: a row was trained again with some, but not all, of its kept seeds.
    """
    rows: dict[str, Any] = {row.name: row for row in kept.rows}
    curves, gradients = dict(kept.curves), dict(kept.gradients or {})
    from_kept = [*rows]
    for row in new.rows:
        name, more = row.name, new.curves[row.name]
        if name in rows and _is_part(row, more, rows[name], curves[name]):
            continue
        measured, earlier_ones = (new.gradients or {}).get(name, ()), gradients.pop(name, ())
        if name in rows and _is_further(rows[name], row):
            rows[name] = _of_all_seeds(rows[name], row, scores)
            curves[name], measured = [*curves[name], *more], [*earlier_ones, *measured]
        else:
            from_kept = [other for other in from_kept if other != name]
            rows[name], curves[name] = row, more
        if len(measured) == len(rows[name].seeds):  # not every seed need be measured
            gradients[name] = measured
    earlier = earlier_runs(kept, new) if from_kept else ()
    return Joined([*rows.values()], curves, gradients or None, earlier, from_kept)


def earlier_runs(
    kept: LanguageModelRecord | TranslationRecord | ProjectionSearchRecord, new: Record
) -> list[Provenance]:
    """The provenance of the runs in ``kept``, each once, without that of ``new``."""
    found = [_provenance(new)]
    for run in (*kept.earlier, _provenance(kept)):
        if run not in found:
            found.append(run)
    return found[1:]


def _provenance(record: Record) -> Provenance:
    return Provenance(machine=record.machine, versions=record.versions, command=record.command)


def _is_part(new: TrainedRow, more: Sequence[Any], old: TrainedRow, curves: Sequence[Any]) -> bool:
    """Whether runs are some of those of a kept row, to judge by the curve of each seed."""
    known = dict(zip(old.seeds, curves, strict=True))
    same = all(known.get(seed) == curve for seed, curve in zip(new.seeds, more, strict=True))
    return _is_same_training(old, new) and same and {*new.seeds} < {*old.seeds}


def _is_same_training(old: TrainedRow, new: TrainedRow) -> bool:
    one, other = ((row.recipe, row.averaged, [*row.teachers]) for row in (old, new))
    return one == other


def _is_further(old: TrainedRow, new: TrainedRow) -> bool:
    """Whether two rows are the same training with different seeds."""
    if not _is_same_training(old, new) or {*new.seeds} >= {*old.seeds}:
        return False
    if {*new.seeds} & {*old.seeds}:
        _require_all_seeds(new.name, old.seeds, new.seeds)
    return True


def _of_all_seeds(old: Row, new: Row, scores: Callable[[Row, Row], Mapping[str, Any]]) -> Row:
    parts = [(len(row.seeds), row.training_seconds) for row in (old, new)]
    seconds = sum(n * s for n, s in parts) / sum(n for n, _ in parts)
    scales = None
    if old.input_scales and new.input_scales:
        scales = {use: pooled(one, new.input_scales[use]) for use, one in old.input_scales.items()}
    return replace(
        old,
        seeds=[*old.seeds, *new.seeds],
        training_seconds=round(seconds),
        input_scales=scales,
        **scores(old, new),
    )


def _require_all_seeds(name: str, kept: Iterable[int], new: Iterable[int]) -> None:
    """Refuse new seeds that do not include all the kept ones.

    Raises:
        UserError: some would be lost.
    """
    if not {*new} >= {*kept}:
        raise UserError(
            f"{name}: seeds {_listed(new)} would replace {_listed(kept)}; run "
            "the others too, or delete the row from the kept record"
        )


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))

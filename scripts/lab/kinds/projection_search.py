"""The search for the paper's tied model with P: how its variants are recorded and joined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.lab.figures.projection_search import figures
from scripts.lab.kinds.kind import Kind
from scripts.lab.records.joining import earlier_runs
from scripts.lab.records.schema import EpochFigures, ProjectionSearchRecord, VariantRow
from scripts.lab.run.kept import read_kept
from scripts.lab.run.provenance import provenance
from scripts.lab.run.variants import VARIANTS, Changes, figures_file, variants
from tiednmt.errors import UserError
from tiednmt.seeds import SeedStatistics, over_seeds

EXPERIMENT = "projection-search"
TITLE = "Penn Treebank, small LSTM, variants of projection regularisation"

# --- the record --------------------------------------------------------------------------------


def summary(out: Path, jobs: int, command: str) -> ProjectionSearchRecord:
    """The record of all variants that have finished an epoch, in the order of the file."""
    rows = [_row(name, changes, out) for name, changes in variants().items()]
    return ProjectionSearchRecord(
        kind=EXPERIMENT,
        experiment=EXPERIMENT,
        title=TITLE,
        variants=[row for row in rows if row],
        **vars(provenance(command, jobs)),
    )


def _row(name: str, changes: Changes, out: Path) -> VariantRow | None:
    kept = sorted(out.glob(figures_file(name, 0, out).with_suffix("").stem + ".*.json"))
    found = {path: read_kept(path, _measured) for path in kept}
    for path, run in found.items():
        if run["changes"] != changes:
            raise UserError(f"{path}: made with other settings than {VARIANTS} has; delete it")
    runs = [run for run in found.values() if run["epochs"]]
    if not runs:
        return None
    epochs = min(len(run["epochs"]) for run in runs)

    def of_last(subset: str) -> SeedStatistics:
        return over_seeds([run["epochs"][epochs - 1][subset] for run in runs])

    ended = all("test" in run for run in runs)
    return VariantRow(
        name=name,
        changes=changes,
        epochs=epochs,
        train=of_last("train"),
        valid=of_last("valid"),
        test=over_seeds([run["test"] for run in runs]) if ended else None,
        curves=[[EpochFigures(**epoch) for epoch in run["epochs"]] for run in runs],
    )


# --- further variants, seeds and epochs --------------------------------------------------------


def join(kept: ProjectionSearchRecord, new: ProjectionSearchRecord) -> ProjectionSearchRecord:
    """``new`` with the variants of ``kept`` that it lacks, or that it trained with the same
    settings for fewer epochs or seeds.
    """
    there = {row.name: row for row in new.variants}
    left = {row.name: row for row in kept.variants if _is_left(row, there.get(row.name))}
    rows = there | left
    return replace(
        new,
        variants=[rows[name] for name in variants() if name in rows],
        earlier=earlier_runs(kept, new) if left else (),
    )


def _is_left(old: VariantRow, new: VariantRow | None) -> bool:
    """Whether a variant that was kept holds what ``new`` lacks."""
    if new is None:
        return True
    less = new.epochs < old.epochs or new.train.seeds < old.train.seeds
    return less and new.changes == old.changes


KIND = Kind(
    record=ProjectionSearchRecord,
    figures=figures,
    join=join,
)


def _measured(content: Any) -> dict[str, Any]:
    """The figures of a variant; raises what :func:`read_kept` expects where they are damaged."""
    for epoch in content["epochs"]:
        float(epoch["train"]), float(epoch["valid"])
    return dict(content)

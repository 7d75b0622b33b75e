"""How a new record joins the one that was kept of the same experiment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from scripts.lab.records.schema import ExperimentRecord, Record
from tiednmt.errors import UserError

R = TypeVar("R", bound=Record)
E = TypeVar("E", bound=ExperimentRecord)


def newest(kept: R, new: R) -> R:
    """The new record alone."""
    return new


def whole(kept: E, new: E) -> E:
    """The new record, which must hold all rows of the one that was kept, and all their seeds
    where the recipe is the same.

    Raises:
        UserError: one would be lost.
    """
    there = {row.name: row for row in new.rows}
    for row in kept.rows:
        if row.name not in there:
            raise UserError(
                f"{new.experiment}: the row {row.name} of the record that is kept would be lost; "
                "run it too, or delete the record"
            )
        if row.recipe == there[row.name].recipe:
            require_all_seeds(row.name, row.seeds, there[row.name].seeds)
    return new


def require_all_seeds(name: str, kept: Iterable[int], new: Iterable[int]) -> None:
    """Refuse seeds that do not hold all of those that were kept.

    Raises:
        UserError: some would be lost.
    """
    if not {*new} >= {*kept}:
        raise UserError(
            f"{name}: seeds {_listed(new)} would take the place of {_listed(kept)}; run "
            "the others too, or delete the row from the record that is kept"
        )


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))

"""The options of ``fairseq-train`` that the rows share, and those that set them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.lab.records.schema import Recipe
from scripts.lab.run.specs import options

Options = dict[str, str]


@dataclass(frozen=True)
class Settings:
    """Options: ``common`` to all rows, or ``apart``, with a value per row, None if not given.

    The value of a flag is the empty string.
    """

    common: Options
    apart: Mapping[str, tuple[str | None, ...]]


def compare(recipes: Sequence[Recipe]) -> Settings:
    """The options that each recipe gives to ``fairseq-train``, side by side."""
    rows = [
        {option: " ".join(words) for option, words in options(recipe).items()} for recipe in recipes
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: tuple(row.get(name) for row in rows) for name in names}
    common = {name: row[0] for name, row in values.items() if len(set(row)) == 1}
    return Settings(
        common={name: value for name, value in common.items() if value is not None},
        apart={name: row for name, row in values.items() if name not in common},
    )

"""``run.json``: the summary that a training writes at every validation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.lab.records.schema import Validation
from tiednmt.errors import UserError
from tiednmt.files import write_json
from tiednmt.typed import Fault, from_json, to_json

FILE = "run.json"


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A training up to its last validation.

    ``parameters`` counts shared ones once, and ``training_seconds`` covers all starts of the
    training. ``input_scales`` are the learned ones (``--input-scale learned``), by use.
    """

    parameters: int
    training_seconds: float
    validations: Sequence[Validation]
    input_scales: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not self.validations:
            raise Fault("is empty", "validations")

    @property
    def updates(self) -> int:
        """How many updates were made up to the last validation."""
        return self.validations[-1].update

    @property
    def epochs(self) -> int:
        """How many epochs had begun at the last validation."""
        return self.validations[-1].epoch


def read_summary(folder: Path) -> RunSummary:
    """The summary that a training left in ``folder``.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / FILE
    try:
        summary: RunSummary = from_json(RunSummary, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file, so {folder} was trained before there was one; remove the "
            "folder to train it again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error}); remove {folder} to train again") from error
    return summary


def add_validation(
    folder: Path,
    validation: Validation,
    parameters: int,
    training_seconds: float,
    input_scales: Mapping[str, float] | None = None,
) -> None:
    """Add a validation to the summary in ``folder``; it replaces one after as many updates."""
    validations = {validation.update: validation}
    if (folder / FILE).exists():
        earlier = read_summary(folder).validations
        validations = {one.update: one for one in earlier} | validations
    summary = RunSummary(
        parameters=parameters,
        training_seconds=round(training_seconds, 1),
        validations=[validations[update] for update in sorted(validations)],
        input_scales=input_scales,
    )
    write_json(folder / FILE, to_json(summary))

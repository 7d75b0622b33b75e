"""The mean of the weights of several checkpoints of one training run.

A tied matrix is stored once in a checkpoint, so its mean is tied too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq.checkpoint_utils import checkpoint_paths
from torch import Tensor

from tiednmt.checkpoints import read_checkpoint
from tiednmt.errors import UserError

NAMES = (r"checkpoint_\d+_(\d+)\.pt", r"checkpoint(\d+)\.pt")  # by updates, by epoch


def average(paths: Sequence[Path]) -> dict[str, Any]:
    """The content of the last checkpoint, with the mean of all checkpoints' weights.

    The mean is computed in double precision. The result can translate and can be fine-tuned, but
    training cannot resume from it, since it has no optimizer state.

    Args:
        paths: checkpoints of one model, at least one.

    Raises:
        UserError: a checkpoint cannot be read, or is of another model than the first.
    """
    state: dict[str, Any] = {}
    sums: dict[str, Tensor] = {}
    first: dict[str, Tensor] = {}
    for path in paths:
        state = read_checkpoint(path)
        weights = {n: w.double() for n, w in state["model"].items() if w.is_floating_point()}
        units = _units_of_rows(state["model"])
        first = first or units
        if sums and not (_shapes(sums) == _shapes(weights) and _equal(first, units)):
            raise UserError(f"{path}: of another model than {paths[0]}; average those of one run")
        sums = {name: sums.get(name, 0) + weight for name, weight in weights.items()}
    dtypes = {name: weight.dtype for name, weight in state["model"].items()}
    means = {name: (total / len(paths)).to(dtypes[name]) for name, total in sums.items()}
    return {**state, "model": {**state["model"], **means}, "last_optimizer_state": None}


def last_checkpoints(folder: Path, count: int) -> list[Path]:
    """The ``count`` most recent checkpoints in a run's folder, the newest last.

    These are named by updates, or by epoch if there are no others.

    Raises:
        UserError: there are fewer.
    """
    recent = intermediate_checkpoints(folder)
    if len(recent) < count:
        raise UserError(
            f"{folder}: has {len(recent)} checkpoints, not {count}; let fairseq-train keep more"
            " (--save-interval-updates, --keep-interval-updates)"
        )
    return recent[-count:]


def intermediate_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints named by updates in a run's folder, or by epoch if there are no others.

    The newest comes last.
    """
    paths: list[str] = next(filter(None, (checkpoint_paths(str(folder), n) for n in NAMES)), [])
    return [Path(path) for path in reversed(paths)]


def _units_of_rows(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What says which units the rows of matrices are of: of the vocabularies, of private rows."""
    return {n: w for n, w in weights.items() if n.endswith("version") and not w.is_floating_point()}


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(w, other[name]) for name, w in one.items()
    )


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}

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

from tiednmt.checkpoints import AVERAGES, read_checkpoint
from tiednmt.errors import UserError

MODEL = "model"
NAMES = (r"checkpoint_\d+_(\d+)\.pt", r"checkpoint(\d+)\.pt")  # by updates, by epoch

Weights = Mapping[str, Tensor]


def average(paths: Sequence[Path]) -> dict[str, Any]:
    """The content of the last checkpoint, with the mean of all checkpoints' weights.

    If all of them have the averages of ``--store-ema``, these are averaged too. The mean is
    computed in double precision. The result can translate and can be fine-tuned, but training
    cannot resume from it, since it has no optimizer state.

    Args:
        paths: checkpoints of one model, at least one.

    Raises:
        UserError: a checkpoint cannot be read, is given twice, or is of another model than the
            first or of another training of it.
    """
    files = [path.resolve() for path in paths]
    again = next((paths[i] for i, file in enumerate(files) if file in files[:i]), None)
    if again is not None:
        raise UserError(f"{again}: given twice; leave one out")
    state: dict[str, Any] = {}
    sums: dict[str, Weights] = {}
    first: dict[str, Tensor] = {}
    seed: Any = None
    for path in paths:
        state = read_checkpoint(path)
        numbers = {part: _numbers(weights) for part, weights in _parts(state).items()}
        units = _units_of_rows(state["model"])
        if not sums:
            sums, first, seed = numbers, units, _seed(state)
            continue
        if _seed(state) != seed:
            raise UserError(
                f"{path}: trained with another --seed than {paths[0]}; average those of one run,"
                " and use several runs as an ensemble (A.pt:B.pt)"
            )
        if not (_shapes(sums[MODEL]) == _shapes(numbers[MODEL]) and _equal(first, units)):
            raise UserError(f"{path}: of another model than {paths[0]}; average those of one run")
        common = sums.keys() & numbers.keys()
        sums = {part: _sum(sums[part], numbers[part]) for part in common}
    means = {
        part: {**weights, **_means(sums[part], weights, len(paths))}
        for part, weights in _parts(state).items()
        if part in sums
    }
    rest = {n: value for n, value in state.get("extra_state", {}).items() if n not in AVERAGES}
    return {
        **state,
        MODEL: means.pop(MODEL),
        "extra_state": {**rest, **means},
        "last_optimizer_state": None,
    }


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


def _seed(state: Mapping[str, Any]) -> Any:
    """The seed of the training; None in checkpoints without a configuration."""
    return ((state.get("cfg") or {}).get("common") or {}).get("seed")


def _parts(state: Mapping[str, Any]) -> dict[str, Weights]:
    """The weights of a checkpoint: of the model, and the averages that it has of them."""
    extra = state.get("extra_state", {})
    return {MODEL: state["model"], **{part: extra[part] for part in AVERAGES if part in extra}}


def _numbers(weights: Weights) -> Weights:
    return {name: w.double() for name, w in weights.items() if w.is_floating_point()}


def _sum(one: Weights, other: Weights) -> Weights:
    return {name: weight + other[name] for name, weight in one.items()}


def _means(sums: Weights, weights: Weights, count: int) -> Weights:
    """The sums over the ``count``, each in the dtype of its weight."""
    return {name: (total / count).to(weights[name].dtype) for name, total in sums.items()}


def _units_of_rows(weights: Weights) -> dict[str, Tensor]:
    """What says which units the rows of matrices are of: of the vocabularies, of private rows."""
    return {n: w for n, w in weights.items() if n.endswith("version") and not w.is_floating_point()}


def _equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(w, other[name]) for name, w in one.items()
    )


def _shapes(weights: Weights) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}

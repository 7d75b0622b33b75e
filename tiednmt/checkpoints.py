"""Checkpoints of ``fairseq-train``, read with one clear line where they cannot be used."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY

from tiednmt.errors import UserError, explain


def read_checkpoint(path: Path, **task_options: Any) -> dict[str, Any]:
    """What a checkpoint holds.

    Args:
        path: of the checkpoint.
        task_options: values that the task is to have instead of those of training; ``data``, the
            data-bin with the dictionaries it was trained with, to :func:`build` it.

    Raises:
        UserError: missing, damaged or unsafe to read.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, on pickles that it then refuses
            return checkpoint_utils.load_checkpoint_to_cpu(str(path), task_options)
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        raise UserError(line) from error


def require_task(path: Path, state: dict[str, Any], task: type, wanted: str) -> None:
    """Refuse a checkpoint of an unknown architecture or of another task than ``wanted``."""
    config = state["cfg"]
    if config is None:
        raise UserError(f"{path}: holds no configuration, so it is no checkpoint of fairseq-train")
    model, trained = (registered_name(config[part]) for part in ("model", "task"))
    if model not in MODEL_REGISTRY and model not in ARCH_MODEL_REGISTRY:
        raise UserError(f"{path}: its architecture {model} is known to neither fairseq nor tiednmt")
    if not issubclass(TASK_REGISTRY.get(trained, object), task):
        raise UserError(f"{path}: a model of the task {trained}; only {wanted} can be used")


def build(path: Path, state: dict[str, Any], data_bin: Path, task: Any = None) -> tuple[Any, Any]:
    """The model of a checkpoint that was read, and its task (or the one given).

    Raises:
        UserError: it does not fit the dictionaries, or holds values that are not numbers.
    """
    try:
        (model,), _, task = checkpoint_utils.load_model_ensemble_and_task(
            [str(path)], task=task, state=state
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except RuntimeError as error:
        raise UserError(
            f"{path}: does not fit the dictionaries in {data_bin} or this version of the "
            f"model ({_reason(error)}); pass the prepared folder it was trained on as --data"
        ) from error
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise UserError(f"{path}: holds values that are not numbers; its training has diverged")
    return model, task


def preferred_device(cpu: bool = False) -> torch.device:
    """A GPU where there is one, unless it is to be left alone."""
    return torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")


def registered_name(config: Any) -> str | None:
    """What fairseq registered a model or a task under, by its configuration."""
    return getattr(config, "_name", None) or getattr(config, "arch", None)


def _reason(error: Exception) -> str:
    """The first fault that ``load_state_dict`` lists, or else the first line."""
    head, *faults = str(error).strip().splitlines()
    return (faults[0] if faults else head).strip().rstrip(".")

"""Checkpoints of ``fairseq-train``, read with one clear line where they cannot be used."""

from __future__ import annotations

import argparse
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.data import data_utils
from fairseq.dataclass.utils import overwrite_args_by_name
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from fairseq.tasks.translation import TranslationTask
from omegaconf import OmegaConf

from tiednmt.errors import UserError, explain
from tiednmt.files import named_when_whole


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
            state: dict[str, Any] = checkpoint_utils.load_checkpoint_to_cpu(str(path), task_options)
            return state
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        raise UserError(line) from error


def write_checkpoint(path: Path, state: Any) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        UserError: the disk is full or the like.
    """
    with named_when_whole(path) as partial, open(partial, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # what torch makes of it
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: cannot be written ({reason}); is the disk full?") from error


def require_task(path: Path, state: dict[str, Any], task: type, wanted: str) -> None:
    """Refuse a checkpoint of an unknown architecture or of another task than ``wanted``."""
    config = configuration(path, state)
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


def load_translation_model(
    path: Path, prepared: Path, data_bin: Path, languages: tuple[str, str], state: dict[str, Any]
) -> tuple[Any, Any, Any]:
    """The translation model of a checkpoint, its task and its configuration.

    Args:
        path: of the checkpoint.
        prepared: the folder that it is used with, for messages.
        data_bin: the one in there, whose dictionaries it was trained with.
        languages: what the folder holds, source and target.
        state: what :func:`read_checkpoint` gave.

    Raises:
        UserError: no translation model, or one of other languages or of other dictionaries.
    """
    require_task(path, state, TranslationTask, "translation models")
    trained = _direction(state["cfg"].task)
    if trained not in (languages, (None, None)):
        raise UserError(
            f"{path}: translates {trained[0]} to {trained[1]}, but {prepared} holds "
            f"{languages[0]} to {languages[1]}"
        )
    # the languages too: fairseq would look for training text to find them out
    said = {"data": str(data_bin), "source_lang": languages[0], "target_lang": languages[1]}
    overwrite_args_by_name(state["cfg"], {**said, "eval_bleu": False})
    model, task = build(path, state, data_bin)
    return model, task, state["cfg"]


def trained_on(path: Path, state: dict[str, Any]) -> Path:
    """The data-bin of a checkpoint: beside it, as ``tiednmt vocabulary`` writes it, or as it says.

    Raises:
        UserError: it holds no configuration.
    """
    beside = path.parent / "data-bin"
    if beside.is_dir():
        return beside
    return Path(str(configuration(path, state).task.data).split(os.pathsep)[0])


def configuration(path: Path, state: dict[str, Any]) -> Any:
    """That of a checkpoint.

    Raises:
        UserError: it holds none.
    """
    if state["cfg"] is None:
        raise UserError(
            f"{path}: holds no configuration, so it is not a checkpoint of fairseq-train"
        )
    return state["cfg"]


def _direction(task: Any) -> tuple[str | None, str | None]:
    """The languages that a model was trained on, None where neither it nor its data says so.

    ``fairseq-train`` without -s and -t finds them out by its data-bin and does not store them.
    """
    data_bin = str(task.data).split(os.pathsep)[0]
    if task.source_lang is None and os.path.isdir(data_bin):
        source, target = data_utils.infer_language_pair(data_bin)
        return source, target
    return task.source_lang, task.target_lang


def preferred_device(cpu: bool = False) -> torch.device:
    """A GPU where there is one, unless it is to be left alone."""
    return torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")


def registered_name(config: Any) -> str | None:
    """What fairseq registered a model or a task under, by its configuration."""
    return getattr(config, "_name", None) or getattr(config, "arch", None)


def plain_options(config: Any) -> dict[str, Any]:
    """The options of a model, which fairseq keeps as a namespace where it has no dataclass."""
    if isinstance(config, argparse.Namespace):
        return vars(config)
    return dict(OmegaConf.to_container(config, resolve=True, enum_to_str=True))  # type: ignore[arg-type]


def _reason(error: Exception) -> str:
    """The first fault that ``load_state_dict`` lists, or else the first line."""
    head, *faults = str(error).strip().splitlines()
    return (faults[0] if faults else head).strip().rstrip(".")

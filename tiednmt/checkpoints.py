"""Checkpoints of ``fairseq-train``, read with one clear line where they cannot be used."""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary, data_utils
from fairseq.dataclass.utils import overwrite_args_by_name
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from fairseq.tasks.translation import TranslationTask
from omegaconf import OmegaConf

from tiednmt.errors import CheckpointError, UserError, explain
from tiednmt.fairseq_errors import NO_CONFIGURATION
from tiednmt.files import named_when_whole, refuse_what_fairseq_cuts
from tiednmt.text.manifest import data_bins, prepared_folder
from tiednmt.tying import DIGEST, vocabulary_digest

AVERAGES = ("ema", "ema_fp32_params")  # in extra_state, where --store-ema and --ema-fp32 are given


def read_checkpoint(path: Path, **task_options: Any) -> dict[str, Any]:
    """The content of a checkpoint.

    Args:
        path: of the checkpoint.
        task_options: options of the task that replace those of training; to :func:`build` the
            model, ``data`` is the data-bin with the dictionaries it was trained with.

    Raises:
        UserError: it is missing, damaged or unsafe to read.
    """
    if not path.is_file():
        what = "a folder; give a checkpoint in it" if path.is_dir() else "no such checkpoint"
        raise UserError(f"{path}: {what}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickles before it refuses them
            state: dict[str, Any] = checkpoint_utils.load_checkpoint_to_cpu(str(path), task_options)
            return state
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        raise UserError(line) from error


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Its configuration becomes plain dictionaries, as in fairseq's checkpoints: torch refuses to read
    other types unless told of them.

    Raises:
        UserError: the disk is full or the like.
    """
    if OmegaConf.is_config(config := state.get("cfg")):
        plain = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
        state = {**state, "cfg": plain}
    with named_when_whole(path) as partial, open(partial, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's class for a failed write
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
    """The model of a checkpoint that :func:`read_checkpoint` read, and its task or the one given.

    Raises:
        UserError: it does not fit the dictionaries, or holds values that are not numbers.
    """
    try:
        (model,), _, task = checkpoint_utils.load_model_ensemble_and_task(
            [str(path)], task=task, state=state
        )
    except UserError as error:
        raise UserError(explain(error)) from error
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
        prepared: the prepared folder that it is used with, for messages.
        data_bin: the data-bin in that folder, with the dictionaries it was trained with.
        languages: source and target of that folder.
        state: the content of the checkpoint, from :func:`read_checkpoint`.

    Raises:
        UserError: it is not a translation model, or has other languages or dictionaries.
    """
    require_task(path, state, TranslationTask, "translation models")
    refuse_what_fairseq_cuts(data_bin, "give the folder another name")
    trained = _direction(state["cfg"].task, _stored_data_bin(state["cfg"].task))
    if trained not in (languages, (None, None)):
        raise UserError(
            f"{path}: translates {trained[0]} to {trained[1]}, but {prepared} holds "
            f"{languages[0]} to {languages[1]}"
        )
    # without the languages, fairseq would look for training text to infer them
    changes = {"data": str(data_bin), "source_lang": languages[0], "target_lang": languages[1]}
    overwrite_args_by_name(state["cfg"], {**changes, "eval_bleu": False})
    model, task = build(path, state, data_bin)
    return model, task, state["cfg"]


# --- what a checkpoint was trained on ----------------------------------------------------------


@dataclass(frozen=True)
class TrainingData:
    """What a checkpoint was trained on.

    Attributes:
        prepared: the prepared translation corpus that has the data-bin, if any.
        data_bin: the folder with the dictionaries, the first if there are several.
        languages: source and target; empty for a language model.
        dictionaries: source and target, or the only one of a language model.
    """

    prepared: Path | None
    data_bin: Path
    languages: tuple[str, ...]
    dictionaries: tuple[Dictionary, ...]


def data_of(path: Path, state: Mapping[str, Any], data: Path | None = None) -> TrainingData:
    """The dictionaries of a checkpoint, and the folder that has them.

    Args:
        path: of the checkpoint.
        state: its content, from :func:`read_checkpoint`.
        data: a prepared folder, or a data-bin; by default the one it was trained on.

    Raises:
        UserError: there are no dictionaries, or it was trained on other ones.
    """
    config = configuration(path, state)
    translates = translates_with(state["model"])
    place = trained_on(path, state) if data is None else data
    prepared = prepared_folder(place)
    pattern = "dict.*.txt" if translates else "dict.txt"
    places = (place, data_bins(prepared or place)[0])
    data_bin = next((folder for folder in places if any(folder.glob(pattern))), None)
    if data_bin is None:
        raise _no_dictionaries(path, place, pattern, is_given=data is not None)
    languages = _languages(path, config.task, data_bin) if translates else ()
    files = [f"dict.{language}.txt" for language in languages] or ["dict.txt"]
    dictionaries = tuple(_dictionary(data_bin / file) for file in files)
    digest = state["model"].get(DIGEST)
    if digest is not None and not torch.equal(digest.cpu(), vocabulary_digest(*dictionaries)):
        raise other_dictionaries(path, data_bin)
    return TrainingData(prepared if translates else None, data_bin, languages, dictionaries)


def _no_dictionaries(path: Path, place: Path, pattern: str, is_given: bool) -> UserError:
    if is_given:
        fault = f"holds no dictionaries ({pattern})" if place.is_dir() else "no such folder"
        return UserError(f"--data {place}: {fault}; give the prepared folder or data-bin")
    return UserError(
        f"{path}: its dictionaries are not in {place}; give the prepared folder it was trained on "
        "as --data"
    )


def trained_on(path: Path, state: Mapping[str, Any]) -> Path:
    """The data-bin next to a checkpoint, as ``tiednmt vocabulary`` writes it, or that of training.

    Raises:
        UserError: the checkpoint holds no configuration.
    """
    beside = path.parent / "data-bin"
    return beside if beside.is_dir() else _stored_data_bin(configuration(path, state).task)


def other_dictionaries(path: Path, data_bin: Path) -> CheckpointError:
    """The error for a checkpoint that was trained on other dictionaries than those here."""
    return CheckpointError(
        f"{path}: was trained on other dictionaries than those in {data_bin}; give the prepared "
        "folder it was trained on as --data"
    )


def _languages(path: Path, task: Any, data_bin: Path) -> tuple[str, str]:
    source, target = _direction(task, data_bin)
    if source is None or target is None:
        names = sorted(file.name.split(".")[1] for file in data_bin.glob("dict.*.txt"))
        raise UserError(
            f"{path}: does not say which languages it translates, and {data_bin} has "
            f"{', '.join(names)}; train with --source-lang and --target-lang"
        )
    return source, target


def _direction(task: Any, data_bin: Path) -> tuple[str | None, str | None]:
    """The languages that a model was trained on; None if neither it nor its data-bin says so.

    ``fairseq-train`` without -s and -t infers them from its data-bin and does not store them.
    """
    source, target = getattr(task, "source_lang", None), getattr(task, "target_lang", None)
    if (source is None or target is None) and data_bin.is_dir():
        source, target = data_utils.infer_language_pair(str(data_bin))
    return source, target


def _dictionary(path: Path) -> Dictionary:
    try:
        return Dictionary.load(str(path))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such dictionary; give the prepared folder or data-bin that the model was "
            "trained on as --data"
        ) from None


def _stored_data_bin(task: Any) -> Path:
    """The data-bin of training, the first if there were several."""
    return Path(str(getattr(task, "data", "")).split(os.pathsep)[0])


# --- its configuration -------------------------------------------------------------------------


def configuration(path: Path, state: Mapping[str, Any]) -> Any:
    """The configuration of a checkpoint.

    Raises:
        UserError: it holds no configuration.
    """
    if state["cfg"] is None:
        raise UserError(f"{path}: {NO_CONFIGURATION}")
    return state["cfg"]


def preferred_device(cpu: bool = False) -> torch.device:
    """A GPU if there is one and ``cpu`` does not forbid it."""
    return torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")


def translates_with(weights: Iterable[str]) -> bool:
    """Whether these are the names of a translation model's weights, not of a language model's."""
    return any(name.startswith("encoder.") for name in weights)


def registered_name(config: Any) -> str | None:
    """The name under which fairseq registered the model or task of a configuration."""
    return getattr(config, "_name", None) or getattr(config, "arch", None)


def plain_options(config: Any) -> dict[str, Any]:
    """The options of a model; fairseq keeps those without a dataclass as a namespace."""
    if isinstance(config, argparse.Namespace):
        return vars(config)
    return dict(OmegaConf.to_container(config, resolve=True, enum_to_str=True))  # type: ignore[arg-type]


def _reason(error: Exception) -> str:
    """The first fault that ``load_state_dict`` lists, or else the first line of the message."""
    head, *faults = str(error).strip().splitlines()
    return (faults[0] if faults else head).strip().rstrip(".")

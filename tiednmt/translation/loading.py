"""Translators from model folders, from checkpoints with their prepared folder, or from several."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from fairseq.tasks.translation import TranslationTask
from omegaconf import OmegaConf

import tiednmt.plugin  # noqa: F401
from tiednmt.checkpoints import preferred_device
from tiednmt.errors import UserError
from tiednmt.export.card import FLOAT32, INT8
from tiednmt.export.model_folder import is_model_folder
from tiednmt.export.reading import needs_no_data, read_trained
from tiednmt.export.trained import TrainedModel
from tiednmt.models.tied_model import TiedModel
from tiednmt.tasks.tied_translation import TiedTranslationConfig, TiedTranslationTask, quantise
from tiednmt.translation.translator import Translator
from tiednmt.tying import vocabulary_digest


def load_translator(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    data: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    int8: bool | None = None,
    cpu: bool = False,
    attention: bool = False,
) -> Translator:
    """See :func:`tiednmt.load`.

    Args:
        paths: a model folder or a checkpoint of ``fairseq-train``, or several as an ensemble.
        data: the prepared folder that the checkpoints were trained on; by default the one that they
            name. Model folders among them do without.
        name: what tables call it; by default that of the first path.
        int8: decode with int8 weights, on the CPU; by default where a folder has them.
        cpu: use no GPU, even where there is one.
        attention: let stock models keep theirs with the hypotheses (ours always do).

    Raises:
        UserError: a model is missing, damaged, unsafe, of an unknown architecture, no translation
            model, or does not fit the dictionaries or the others; int8 weights of a stock model;
            ``data`` is missing, or no checkpoint is there to use it.
    """
    several = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files = tuple(map(Path, several))
    if not files:
        raise UserError("there is no model to load; give at least one")
    loaded = _read_alike(files, None if data is None else Path(data))
    rounds = any(one.int8 for one in loaded) if int8 is None else int8
    if rounds:
        _require_roundable(dict(zip(files, loaded, strict=True)), asked=int8 is not None)
    device = preferred_device(cpu or rounds)
    generation = {"no_beamable_mm": True, "print_alignment": attention}
    models: Sequence[Any] = [one.model for one in loaded]
    for model in models:
        model.to(device)
        model.prepare_for_inference_(OmegaConf.create({"generation": generation}))
        if rounds:
            quantise(model)
    # its tools are loaded at first use, which is not to count as translating
    first = loaded[0]
    first.pipeline.load_tools()
    task = _with_our_search(first.task)
    weights = INT8 if rounds else FLOAT32
    return Translator(name or files[0].name, files, models, task, first.pipeline, device, weights)


def _read_alike(files: Sequence[Path], data: Path | None) -> list[TrainedModel]:
    """Read models that can be an ensemble; ``data`` is of the checkpoints among them."""
    if data is not None and all(map(is_model_folder, files)):
        raise needs_no_data(data)
    if data is not None and not data.is_dir():
        raise UserError(f"{data}: no such folder; --data names the prepared one of the checkpoints")
    loaded: list[TrainedModel] = []
    for path in files:
        one = read_trained(path, None if is_model_folder(path) else data)
        if loaded:
            _require_alike(files[0], loaded[0], path, one)
        loaded.append(one)
    return loaded


def _require_alike(first: Path, one: TrainedModel, path: Path, other: TrainedModel) -> None:
    digests = [vocabulary_digest(each.source, each.target) for each in (one, other)]
    if one.pipeline.settings != other.pipeline.settings or not torch.equal(*digests):
        raise UserError(
            f"{path}: of other languages, dictionaries or segmentation than {first}, so that they "
            "cannot be an ensemble"
        )


def _require_roundable(models: Mapping[Path, TrainedModel], asked: bool) -> None:
    """Refuse to decode stock models with int8 weights.

    Args:
        models: by path.
        asked: whether int8 weights were asked for, and not only a folder has them.

    Raises:
        UserError: naming the first stock model.
    """
    stock = next((p for p, one in models.items() if not isinstance(one.model, TiedModel)), None)
    if stock is None:
        return
    cause, way_out = " (--int8)", "leave --int8 out"
    if not asked:
        folder = next(path for path, one in models.items() if one.int8)
        cause, way_out = f", as {folder} does", "export that again without --int8"
    raise UserError(
        f"{stock}: fairseq's own {models[stock].architecture}, which does not decode with int8"
        f" weights{cause}; {way_out}, or make this one a model of this package with"
        " scripts.convert_checkpoint"
    )


def _with_our_search(task: TranslationTask) -> TranslationTask:
    """The task of our search in place of fairseq's ``translation``, of which most checkpoints are.

    Which generator serves a search is for the task alone to say; others keep their own.
    """
    if type(task) is not TranslationTask:
        return task
    given = vars(task.cfg) if isinstance(task.cfg, Namespace) else task.cfg
    names = [each.name for each in fields(TiedTranslationConfig) if each.name in given]
    config = TiedTranslationConfig(**{name: given[name] for name in names})
    return TiedTranslationTask(config, task.source_dictionary, task.target_dictionary)

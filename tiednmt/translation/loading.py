"""Translators from model folders, from checkpoints with their prepared folder, or from several."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq.tasks.translation import TranslationTask
from omegaconf import OmegaConf

import tiednmt.plugin  # noqa: F401
from tiednmt.checkpoints import load_translation_model, preferred_device
from tiednmt.errors import UserError
from tiednmt.export.model_folder import is_model_folder, read_model_folder
from tiednmt.tasks.tied_translation import TiedTranslationConfig, TiedTranslationTask, quantise
from tiednmt.text.manifest import data_bins
from tiednmt.text.pipeline import TextPipeline
from tiednmt.translation.translator import Translator
from tiednmt.tying import vocabulary_digest


class _Loaded(NamedTuple):
    """A model with what it was trained with; ``int8``: its matrices were rounded."""

    model: Any
    task: TranslationTask
    pipeline: TextPipeline
    int8: bool


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
        data: the prepared folder whose dictionaries the checkpoints were trained with.
        name: what tables call it; by default that of the first path.
        int8: decode with int8 weights, on the CPU; by default where a folder has them.
        cpu: use no GPU, even where there is one.
        attention: let stock models keep theirs with the hypotheses (ours always do).

    Raises:
        UserError: a model is missing, damaged, unsafe, of an unknown architecture, no translation
            model, or does not fit the dictionaries or the others; int8 weights of a stock model.
    """
    several = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found = tuple(map(Path, several))
    if not found:
        raise UserError("there is no model to load; give at least one")
    prepared = None if data is None else Path(data)
    loaded: list[_Loaded] = []
    for path in found:
        one = (
            _from_folder(path)
            if is_model_folder(path)
            else _from_checkpoint(path, prepared, loaded)
        )
        if loaded:
            _require_alike(found[0], loaded[0], path, one)
        loaded.append(one)
    rounds = any(one.int8 for one in loaded) if int8 is None else int8
    device = preferred_device(cpu or rounds)
    generation = {"no_beamable_mm": True, "print_alignment": attention}
    for model, *_ in loaded:
        model.to(device)
        model.prepare_for_inference_(OmegaConf.create({"generation": generation}))
        if rounds:
            quantise(model)
    # its tools are loaded at first use, which is not to count as translating
    first = loaded[0]
    first.pipeline.load_tools()
    models: Sequence[Any] = [one.model for one in loaded]
    return Translator(name or found[0].name, found, models, first.task, first.pipeline, device)


def _from_folder(path: Path) -> _Loaded:
    trained = read_model_folder(path)
    source, target = trained.pipeline.languages
    config = TiedTranslationConfig(source_lang=source, target_lang=target)
    task = TiedTranslationTask(config, trained.source, trained.target)
    return _Loaded(trained.model, task, trained.pipeline, trained.int8)


def _from_checkpoint(path: Path, prepared: Path | None, before: Sequence[_Loaded]) -> _Loaded:
    if path.is_dir():
        raise UserError(
            f"{path}: no model folder (it has no config.json); give one, or a checkpoint"
        )
    if prepared is None:
        raise UserError(
            f"{path}: a checkpoint needs the prepared folder that it was trained with; give it as "
            "data, or use a model folder of tiednmt export"
        )
    pipeline = before[0].pipeline if before else TextPipeline.load(prepared)
    task = before[0].task if before else None
    bin_folder = data_bins(prepared)[0]
    model, task, _ = load_translation_model(path, prepared, bin_folder, pipeline.languages, task)
    return _Loaded(model, _with_our_search(task), pipeline, False)


def _require_alike(first: Path, one: _Loaded, path: Path, other: _Loaded) -> None:
    digests = [
        vocabulary_digest(each.task.source_dictionary, each.task.target_dictionary)
        for each in (one, other)
    ]
    if one.pipeline.settings != other.pipeline.settings or not torch.equal(*digests):
        raise UserError(
            f"{path}: of other languages, dictionaries or segmentation than {first}, so that they "
            "cannot be an ensemble"
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

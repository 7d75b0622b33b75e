"""A trained translation model with all that it needs to translate raw text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq.data import Dictionary
from fairseq.dataclass.utils import overwrite_args_by_name
from fairseq.tasks.translation import TranslationTask
from omegaconf import OmegaConf
from torch import Tensor

from tiednmt.checkpoints import (
    configuration,
    load_translation_model,
    plain_options,
    read_checkpoint,
    registered_name,
    trained_on,
    translates_with,
)
from tiednmt.errors import UserError
from tiednmt.models.model_options import not_read_again
from tiednmt.models.tied_model import TiedModel
from tiednmt.text.manifest import data_bins, prepared_folder
from tiednmt.text.pipeline import TextPipeline


@dataclass(frozen=True)
class TrainedModel:
    """A model, its dictionaries and its text pipeline.

    Attributes:
        architecture: what its class is registered under.
        options: its configuration, all that its class reads.
        model: of this package, or of fairseq's own.
        task: of translation; has the dictionaries.
        dictionaries: the files that source and target dictionary were read from.
        pipeline: raw text to units and back.
        rounded: the tensors it was read from, where they were in 8 bits
            (:mod:`tiednmt.export.int8`).
    """

    architecture: str
    options: Mapping[str, Any]
    model: Any
    task: TranslationTask
    dictionaries: tuple[Path, Path]
    pipeline: TextPipeline
    rounded: Mapping[str, Tensor] | None = None

    @property
    def source(self) -> Dictionary:
        """The source dictionary."""
        return self.task.source_dictionary

    @property
    def target(self) -> Dictionary:
        """The target dictionary."""
        return self.task.target_dictionary

    @property
    def int8(self) -> bool:
        """Whether its matrices were rounded to 8 bits."""
        return self.rounded is not None

    @classmethod
    def from_checkpoint(cls, path: Path, prepared: Path | None = None) -> TrainedModel:
        """Read a checkpoint, and the rest from the folder it was trained with.

        Args:
            path: of the checkpoint.
            prepared: that folder, or its data-bin; by default the one that the checkpoint names.

        Raises:
            UserError: it cannot be used, or does not fit the folder.
        """
        state = read_checkpoint(path)
        if not translates_with(state["model"]):
            raise UserError(
                f"{path}: a language model, which does not translate; score text with python -m "
                "scripts.perplexity"
            )
        if prepared is not None:
            prepared = prepared_folder(prepared) or prepared
        else:
            prepared = prepared_folder(trained_on(path, state))
            if prepared is None:
                raise UserError(f"{path}: give the prepared folder it was trained with, as --data")
        pipeline, data_bin = TextPipeline.load(prepared), data_bins(prepared)[0]
        if OmegaConf.is_config(model := configuration(path, state).model):  # ours, no namespace
            overwrite_args_by_name(state["cfg"], not_read_again(model))
        model, task, config = load_translation_model(
            path, prepared, data_bin, pipeline.languages, state
        )
        source, target = (data_bin / f"dict.{code}.txt" for code in pipeline.languages)
        options = {key: v for key, v in plain_options(config.model).items() if key != "_name"}
        return cls(
            architecture=registered_name(config.model) or "",
            options=options,
            model=model.eval(),
            task=task,
            dictionaries=(source, target),
            pipeline=pipeline,
        )


def require_ours(path: Path, trained: TrainedModel) -> TrainedModel:
    """The same, if it is a model of this package.

    Raises:
        UserError: it is one of fairseq's own.
    """
    if not isinstance(trained.model, TiedModel):
        raise UserError(
            f"{path}: fairseq's own {trained.architecture}; make it one of this package's with "
            "scripts.convert_checkpoint first"
        )
    return trained

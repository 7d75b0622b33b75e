"""A trained translation model with all that it needs to translate raw text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq.data import Dictionary

from tiednmt.checkpoints import load_translation_model, plain_options, registered_name
from tiednmt.errors import UserError
from tiednmt.models.tied_model import TiedModel
from tiednmt.text.manifest import data_bins
from tiednmt.text.pipeline import TextPipeline


@dataclass(frozen=True)
class TrainedModel:
    """A model of this package, its dictionaries and its text pipeline.

    Attributes:
        architecture: what its class is registered under.
        options: its configuration, all that its class reads.
        dictionaries: the files that source and target dictionary were read from.
        int8: whether its matrices were rounded to 8 bits.
    """

    architecture: str
    options: Mapping[str, Any]
    model: TiedModel
    source: Dictionary
    target: Dictionary
    dictionaries: tuple[Path, Path]
    pipeline: TextPipeline
    int8: bool = False

    @classmethod
    def from_checkpoint(cls, path: Path, prepared: Path) -> TrainedModel:
        """Read a checkpoint, and the rest from the folder it was trained with.

        Raises:
            UserError: it cannot be used, does not fit the folder, or holds another model than those
                of this package.
        """
        pipeline, data_bin = TextPipeline.load(prepared), data_bins(prepared)[0]
        model, task, config = load_translation_model(path, prepared, data_bin, pipeline.languages)
        name = registered_name(config.model) or ""
        if not isinstance(model, TiedModel):
            raise UserError(
                f"{path}: fairseq's own {name}; make it one of this package's with "
                "scripts.convert_checkpoint first"
            )
        source, target = (data_bin / f"dict.{code}.txt" for code in pipeline.languages)
        options = {key: v for key, v in plain_options(config.model).items() if key != "_name"}
        return cls(
            architecture=name,
            options=options,
            model=model.eval(),
            source=task.source_dictionary,
            target=task.target_dictionary,
            dictionaries=(source, target),
            pipeline=pipeline,
        )

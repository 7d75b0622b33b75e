"""What can be exported: model folders, and checkpoints with their prepared folder."""

from __future__ import annotations

from pathlib import Path

from tiednmt.errors import UserError
from tiednmt.export.model_folder import is_model_folder, read_model_folder
from tiednmt.export.trained import TrainedModel


def read_trained(path: Path, data: Path | None) -> TrainedModel:
    """Read a model folder, or a checkpoint whose prepared folder is ``data``.

    Raises:
        UserError: it cannot be read, or ``data`` is missing or too much.
    """
    if is_model_folder(path):
        if data is not None:
            raise UserError(f"--data {data}: a model folder needs none")
        return read_model_folder(path)
    if path.is_dir():
        raise UserError(
            f"{path}: no model folder (it has no config.json); give one, or a checkpoint"
        )
    if data is None:
        raise UserError(f"{path}: give the prepared folder it was trained with, as --data")
    return TrainedModel.from_checkpoint(path, data)

"""What can be used and exported: model folders, and checkpoints with their prepared folder."""

from __future__ import annotations

from pathlib import Path

from tiednmt.errors import UserError
from tiednmt.export.model_folder import is_model_folder, read_model_folder
from tiednmt.export.trained import TrainedModel


def read_trained(path: Path, data: Path | None = None) -> TrainedModel:
    """Read a model folder, or a checkpoint with the prepared folder ``data``.

    Without ``data`` a checkpoint's folder is the one that it names.

    Raises:
        UserError: it cannot be read, or ``data`` is missing or too much.
    """
    if is_folder(path, data):
        return read_model_folder(path)
    return TrainedModel.from_checkpoint(path, data)


def is_folder(path: Path, data: Path | None) -> bool:
    """Whether a path is that of a model folder, and not of a checkpoint.

    Raises:
        UserError: it is that of another folder, or of the weights in one; or it is that of one, and
            ``data`` is given.
    """
    if is_model_folder(path):
        if data is not None:
            raise needs_no_data(data)
        return True
    if path.suffix == ".safetensors" and is_model_folder(path.parent):
        raise UserError(f"{path}: the weights of a model folder; give the folder, {path.parent}")
    if path.is_dir():
        raise UserError(
            f"{path}: not a model folder (it has no config.json); give one, or a checkpoint"
        )
    return False


def needs_no_data(data: Path) -> UserError:
    """The refusal of ``--data`` for model folders, which have all that they need."""
    return UserError(f"--data {data}: a model folder needs none; leave it out")

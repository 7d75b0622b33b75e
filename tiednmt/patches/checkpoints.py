"""Checkpoints: fairseq reads only whole ones of its own kind, and leaves only whole ones."""

from __future__ import annotations

import glob
import math
import os
import shutil
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy
import torch
from fairseq import checkpoint_utils
from fairseq.data import data_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.distributed.utils import _TensorPlaceholder
from fairseq.file_io import PathManager
from fairseq.models import FairseqDecoder, FairseqEncoder
from fairseq.trainer import Trainer
from omegaconf import DictConfig, ListConfig
from omegaconf.base import ContainerMetadata, Metadata
from omegaconf.nodes import AnyNode
from torch import Tensor

from tiednmt.checkpoints import write_checkpoint
from tiednmt.errors import CheckpointError
from tiednmt.files import named_when_whole
from tiednmt.models.parameters import OURS, names_of, with_all_names
from tiednmt.patches.foreign_code import keep_the_check_of_pickles
from tiednmt.patches.patch import patch
from tiednmt.torch_files import checked_meanwhile
from tiednmt.tying import is_dense


def allow_types_of_checkpoints() -> None:
    """Let ``torch.load`` accept the types in fairseq's checkpoints with its check of pickles on.

    Since torch 2.6 only tensors and plain containers are accepted, and fairseq does not say what
    else its checkpoints hold: its configuration, the arrays that ``--eval-bleu`` leaves in the
    meters, and the configuration object that the first of several workers sends to the others when
    training resumes. All of these are harmless.
    """
    rebuild = [numpy.empty(0).__reduce__()[0], numpy.float64(0).__reduce__()[0]]
    numbers = [type(numpy.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]
    configuration = [DictConfig, ListConfig, AnyNode, ContainerMetadata, Metadata, Any]
    torch.serialization.add_safe_globals(
        [
            *(Namespace, numpy.ndarray, numpy.dtype, *numbers, *rebuild),
            *(*configuration, defaultdict, dict, list, int, _TensorPlaceholder),
        ]
    )


def check_checkpoints() -> None:
    """Refuse to read a checkpoint that is damaged, or differs from what fairseq saves."""

    def load_checked(load: Callable[..., Any], path: str, *args: Any, **kwargs: Any) -> Any:
        keep_the_check_of_pickles()
        if not os.path.isfile(local := PathManager.get_local_path(path)):
            return load(path, *args, **kwargs)
        with checked_meanwhile(local):
            state = load(path, *args, **kwargs)
        if (fault := _fault_of(state)) is not None:
            raise CheckpointError(f"{path}: {fault}; use another one of its folder")
        state.setdefault("cfg", None)  # its readers report what they miss
        return state

    patch(checkpoint_utils, "load_checkpoint_to_cpu", load_checked)


def start_from_no_missing_checkpoint() -> None:
    """Refuse to start from a checkpoint that is not there, instead of from scratch.

    The last one of the run itself may be missing: then the run begins.
    """

    def load_checkpoint(
        load: Callable[..., Any], self: Trainer, filename: str, *args: Any, **kwargs: Any
    ) -> Any:
        if os.path.isdir(filename):
            raise CheckpointError(
                f"{filename}: a folder; --restore-file and --finetune-from-model take a checkpoint,"
                " such as the checkpoint_best.pt of a run"
            )
        folder, name = os.path.split(filename)
        own = os.path.realpath(self.cfg.checkpoint.save_dir) == os.path.realpath(folder)
        begins = own and name.startswith("checkpoint_last")
        if not begins and not PathManager.isfile(filename):
            raise CheckpointError(
                f"{filename}: no such checkpoint to start from; --restore-file takes a path from"
                " the current folder, not from --save-dir"
            )
        return load(self, filename, *args, **kwargs)

    patch(Trainer, "load_checkpoint", load_checkpoint)


def _fault_of(state: Mapping[str, Any]) -> str | None:
    """What differs from the form that fairseq saves, in the parts that commands need."""
    weights, cfg, args = state.get("model"), state.get("cfg"), state.get("args")
    if not isinstance(weights, Mapping) or not all(map(is_dense, weights.values())):
        return "holds no model, that is tensors by name"
    if cfg is not None and not (isinstance(cfg, DictConfig) and {"model", "task"} <= cfg.keys()):
        return "its configuration is not fairseq's, which has parts for model and task"
    if args is not None and not isinstance(args, Namespace):
        return "its options are not fairseq's"
    parts = {"task_state": {}, "extra_state": {}, **state}
    parts["last_optimizer_state"] = parts.get("last_optimizer_state") or {}  # which may be left out
    for part in ("task_state", "extra_state", "last_optimizer_state"):
        if not isinstance(parts[part], Mapping):
            return f"its {part} is not fairseq's"
    history = state.get("optimizer_history") or []
    if not isinstance(history, list) or not all(isinstance(each, Mapping) for each in history):
        return "its history of optimizers is not fairseq's"
    updates = [each.get("num_updates", 0) for each in history]
    if not all(type(number) is int and number >= 0 for number in updates):
        return f"its number of updates is {updates[-1]!r}"
    bad = next((name for name, weight in weights.items() if not _are_numbers(weight)), None)
    return bad and f"{bad} holds values that are not numbers, so its training has diverged"


def _are_numbers(weight: Tensor) -> bool:
    """Whether all numbers are finite. Their sum tells it faster, unless it is out of range."""
    if not weight.is_floating_point():
        return True
    return bool(weight.sum().isfinite()) or bool(weight.isfinite().all())


def make_copies_atomic() -> None:
    """Let a copy of a checkpoint take its name once it is complete.

    fairseq writes ``checkpoint_last.pt`` by copying the newest checkpoint over it. A run killed at
    that moment would be left with half a file to resume from.
    """

    def copy_atomically(
        copy: Callable[..., Any], src_path: str, dst_path: str, overwrite: bool = False
    ) -> Any:
        if "://" in dst_path:  # not a local file
            return copy(src_path, dst_path, overwrite=overwrite)
        with named_when_whole(Path(dst_path)) as partial:
            shutil.copyfile(src_path, partial)
        return True

    patch(PathManager, "copy", copy_atomically)


def leave_no_empty_folder() -> None:
    """Remove the folders that were made for checkpoints if the command ends without any.

    fairseq makes them before it looks at most options, so they would stay when it refuses one.
    """

    def call_main(call: Callable[..., Any], cfg: Any, main: Any, **kwargs: Any) -> Any:
        folder = Path(cfg.checkpoint.save_dir)
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            return call(cfg, main, **kwargs)
        finally:
            with suppress(OSError):  # the first that is not empty, or was not made
                for path in made:
                    path.rmdir()

    patch(distributed_utils, "call_main", call_main)


def save_whole() -> None:
    """Leave no partial checkpoint if one cannot be written, and say so in one line.

    fairseq tries three times, logs a traceback and leaves its temporary file.
    """

    def save_one(
        save: Callable[..., None], obj: Any, filename: Any, async_write: bool = False
    ) -> None:
        if async_write or not isinstance(filename, str) or "://" in filename:
            return save(obj, filename, async_write=async_write)
        write_checkpoint(Path(filename), obj)

    patch(checkpoint_utils, "torch_persistent_save", save_one)


def keep_as_many_as_wanted() -> None:
    """Let ``--keep-best-checkpoints N`` keep N, and not only those that are better than the worst.

    While there are fewer, fairseq leaves out a checkpoint that is worse than all of them, although
    it is among the best N.
    """

    def save_and_keep(
        save: Callable[..., Any], cfg: Any, trainer: Trainer, epoch_itr: Any, val_loss: float | None
    ) -> Any:
        saved = save(cfg, trainer, epoch_itr, val_loss)
        wanted, saves = cfg.keep_best_checkpoints, trainer.should_save_checkpoint_on_current_rank
        if wanted <= 0 or cfg.no_save or not saves:
            return saved
        if val_loss is None or not math.isfinite(val_loss):
            return saved
        start = f"checkpoint.best_{cfg.best_checkpoint_metric}_"
        end = f"{trainer.checkpoint_suffix}.pt"
        # fairseq's name, with its digit that tells ties apart
        with data_utils.numpy_seed(epoch_itr.epoch, trainer.get_num_updates(), val_loss):
            name = f"{start}{val_loss:.3f}{numpy.random.randint(0, wanted)}{end}"
        kept = {file.name for file in Path(cfg.save_dir).glob(f"{glob.escape(start)}*{end}")}
        if name in kept or len(kept) >= wanted:
            return saved
        state = {"train_iterator": epoch_itr.state_dict(), "val_loss": val_loss}
        state["best"] = vars(checkpoint_utils.save_checkpoint)["best"]
        path = trainer.save_checkpoint(os.path.join(cfg.save_dir, name), state)
        return saved or path

    patch(checkpoint_utils, "save_checkpoint", save_and_keep)


def load_components_of_tied_models() -> None:
    """Let ``load_pretrained_component_from_model`` find matrices that a checkpoint stores once.

    A tied decoder is stored without the matrices that it shares with the encoder.
    """

    def load_component(
        load: Callable[..., Any],
        component: FairseqEncoder | FairseqDecoder,
        checkpoint: str,
        strict: bool = True,
    ) -> FairseqEncoder | FairseqDecoder:
        weights = {}
        if PathManager.exists(checkpoint):
            weights = checkpoint_utils.load_checkpoint_to_cpu(checkpoint)["model"]
        if names_of(weights) is not OURS:
            return load(component, checkpoint, strict)
        prefix = "encoder." if isinstance(component, FairseqEncoder) else "decoder."
        named = with_all_names(weights).items()
        own = {name.removeprefix(prefix): w for name, w in named if name.startswith(prefix)}
        component.load_state_dict(own, strict=strict)
        return component

    patch(checkpoint_utils, "load_pretrained_component_from_model", load_component)

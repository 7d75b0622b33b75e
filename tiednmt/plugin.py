"""The plugin: registers models, tasks and criterions with fairseq, and mends what fairseq lacks.

``fairseq-train --user-dir tiednmt`` imports this module through :mod:`tiednmt.tasks.user_dir`.
Programs that use the models through fairseq import it themselves. Each patch below has one reason
and may be applied any number of times.
"""

from __future__ import annotations

import argparse
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import torch
from fairseq import checkpoint_utils, utils
from fairseq.distributed.utils import _TensorPlaceholder
from fairseq.file_io import PathManager
from fairseq.models import FairseqDecoder, FairseqEncoder
from fairseq.models.ema.ema import EMA
from fairseq.optim import FairseqOptimizer
from fairseq.optim.adam import Adam
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer
from omegaconf import DictConfig, ListConfig
from omegaconf.base import ContainerMetadata, Metadata
from omegaconf.nodes import AnyNode
from torch import Tensor

import tiednmt.criterions.tied_cross_entropy
import tiednmt.models.tied_gru
import tiednmt.models.tied_lstm
import tiednmt.models.tied_lstm_lm
import tiednmt.models.tied_rhn_lm
import tiednmt.models.tied_transformer
import tiednmt.models.tied_transformer_gru
import tiednmt.models.tied_transformer_lm
import tiednmt.optim.nt_asgd
import tiednmt.tasks.tied_language_modeling
import tiednmt.tasks.tied_translation  # noqa: F401
from tiednmt.checkpoints import write_checkpoint
from tiednmt.data_files import check_binarised_text, check_dictionaries
from tiednmt.errors import UserError, explain_uncaught_errors
from tiednmt.guards import (
    build_known_architectures,
    check_checkpoints,
    keep_the_check_of_pickles,
    read_literals_only,
    refuse_fasta,
)
from tiednmt.models.parameters import OURS, names_of, with_all_names
from tiednmt.optim import few_launches
from tiednmt.optim.averaged_sgd import AveragedSGD
from tiednmt.patching import patch
from tiednmt.training_end import (
    end_where_told,
    refuse_what_cannot_work,
    share_gradients_on_cpus,
    stop_loading_at_exit,
)


def allow_fairseq_types() -> None:
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
            *(argparse.Namespace, numpy.ndarray, numpy.dtype, *numbers, *rebuild),
            *(*configuration, defaultdict, dict, list, int, _TensorPlaceholder),
        ]
    )


def make_checkpoint_copies_atomic() -> None:
    """Let a copy of a checkpoint take its name once it is complete.

    fairseq writes ``checkpoint_last.pt`` by copying the newest checkpoint over it. A run killed at
    that moment would be left with half a file to resume from.
    """

    def copy_atomically(
        copy: Callable[..., Any], src_path: str, dst_path: str, overwrite: bool = False
    ) -> Any:
        if "://" in dst_path:  # not a local file
            return copy(src_path, dst_path, overwrite=overwrite)
        partial = Path(f"{dst_path}.partial")
        try:
            shutil.copyfile(src_path, partial)
            return partial.replace(dst_path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    patch(PathManager, "copy", copy_atomically)


def save_checkpoints_whole() -> None:
    """Let no half of a checkpoint be left where it cannot be written, and say so in one line.

    fairseq tries thrice, logs a traceback and leaves its temporary file.
    """

    def save_whole(
        save: Callable[..., None], obj: Any, filename: Any, async_write: bool = False
    ) -> None:
        if async_write or not isinstance(filename, str) or "://" in filename:
            return save(obj, filename, async_write=async_write)
        write_checkpoint(Path(filename), obj)

    patch(checkpoint_utils, "torch_persistent_save", save_whole)


def patch_numpy_compat() -> None:
    """Provide ``numpy.compat.long``, which is gone since numpy 2.3.

    fairseq's datasets of single sentences need it, and so does ``fairseq-interactive`` with a
    language model.
    """
    if not hasattr(numpy, "compat"):
        numpy.compat = SimpleNamespace(long=int)  # type: ignore[attr-defined]


def load_components_of_tied_models() -> None:
    """Let ``load_pretrained_component_from_model`` find matrices that a checkpoint holds once.

    The decoder of a tied model is stored without what it shares with the encoder.
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


def hold_rows_in_training() -> None:
    """Put rows back that are not trained, after each update and in each average of the weights.

    An update is what the task lets the optimizer do: a hook of torch's optimizers would come before
    fairseq's half precision copies its own weights into the model. An average of equal numbers is
    rounded, so that rows which nothing moves would drift in it.
    """

    def hold_in_step(
        step: Callable[..., None], self: FairseqTask, optimizer: Any, model: Any, update_num: int
    ) -> None:
        with getattr(model, "updating", nullcontext)():
            step(self, optimizer, model, update_num)

    def hold_in_average(
        average: Callable[..., None], self: EMA, new_model: Any, updates: int | None = None
    ) -> None:
        held = getattr(new_model, "held_rows", None)
        if held is None:
            return average(self, new_model, updates)
        in_model = dict(self.model.named_parameters())
        with held.kept(in_model, whole=True), held.kept(self.fp32_params, whole=True):
            average(self, new_model, updates)

    patch(FairseqTask, "optimizer_step", hold_in_step)
    patch(EMA, "_step_internal", hold_in_average)


def refuse_moments_of_other_parameters() -> None:
    """Say in one line that ``--restore-file`` was trained of other parameters than are trained now.

    As it is where ``--train-rows`` or ``--freeze-embeddings`` was given there and not here, or the
    other way round. torch names sizes of groups, and fairseq's half precision, whose optimizer sees
    one flat tensor, fails in the middle of the first update. Other rows of the same matrices are no
    matter: those that were held have moments of zero.
    """

    def load_fitting(
        load: Callable[..., None],
        self: FairseqOptimizer,
        state: Mapping[str, Any],
        overrides: Any = None,
    ) -> None:
        groups = state.get("param_groups", ())
        numbers = [number for group in groups for number in group["params"]]
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        fits = len(numbers) == len(parameters) and all(
            value.shape == parameter.shape
            for number, parameter in zip(numbers, parameters, strict=True)
            for value in state["state"].get(number, {}).values()
            if isinstance(value, Tensor) and value.dim() and value.dim() == parameter.dim()
        )
        if groups and not fits:
            raise UserError(
                "--restore-file: the optimizer there was of other parameters than are trained now "
                "(--train-rows or --freeze-embeddings may differ, or the model); start from that "
                "checkpoint with --finetune-from-model and another --save-dir, or add "
                "--reset-optimizer"
            )
        load(self, state, overrides)

    patch(FairseqOptimizer, "load_state_dict", load_fitting)


def show_averages_beside_training() -> None:
    """Validate and save the average of ``--optimizer tied_averaged_sgd``, train its last iterate.

    fairseq has no place where an optimizer could change the weights between the two.
    """

    def with_last_iterate(
        method: Callable[..., Any], self: Trainer, *args: Any, **more: Any
    ) -> Any:
        _show_average(self, False)
        return method(self, *args, **more)

    def with_average(method: Callable[..., Any], self: Trainer, *args: Any, **more: Any) -> Any:
        _show_average(self, True)
        return method(self, *args, **more)

    patch(Trainer, "train_step", with_last_iterate)
    patch(Trainer, "begin_valid_epoch", with_average)
    patch(Trainer, "save_checkpoint", with_average)


def _show_average(trainer: Trainer, shown: bool) -> None:
    optimizer = trainer.optimizer.optimizer
    if isinstance(optimizer, AveragedSGD):
        optimizer.show_average(shown)


def update_in_few_launches() -> None:
    """Let Adam and the norm of the gradient go over lists of tensors: the same numbers, sooner.

    fairseq goes over parameters one by one, unless apex is installed.
    """

    def step(
        one_by_one: Callable[..., Any], self: Adam, closure: Callable[[], Any] | None = None
    ) -> Any:
        fast = few_launches.goes_over_lists(self)
        return (few_launches.step if fast else one_by_one)(self, closure)

    patch(Adam, "step", step)
    if not utils.multi_tensor_l2norm_available:
        utils.multi_tensor_l2norm_available = True
        utils.multi_tensor_total_norm = few_launches.total_norm


allow_fairseq_types()
hold_rows_in_training()
refuse_moments_of_other_parameters()
show_averages_beside_training()
make_checkpoint_copies_atomic()
save_checkpoints_whole()
load_components_of_tied_models()
patch_numpy_compat()
update_in_few_launches()
explain_uncaught_errors()
keep_the_check_of_pickles()
check_checkpoints()
build_known_architectures()
read_literals_only()
refuse_fasta()
check_dictionaries()
check_binarised_text()
end_where_told()
stop_loading_at_exit()
share_gradients_on_cpus()
refuse_what_cannot_work()

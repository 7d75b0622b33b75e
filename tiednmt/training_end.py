"""``fairseq-train`` ends where it was told, and refuses at once what cannot work.

Each function changes fairseq in one way and may be called any number of times.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import logging
import math
import os
import queue
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.data.iterators import BackgroundConsumer, BufferedIterator
from fairseq.distributed import utils as distributed_utils
from fairseq.models import ARCH_MODEL_REGISTRY, distributed_fairseq_model
from fairseq.trainer import Trainer
from omegaconf import OmegaConf, open_dict
from torch.nn.parallel import DistributedDataParallel

from tiednmt.checkpoints import registered_name
from tiednmt.errors import UserError
from tiednmt.models.tied_model import TiedModel
from tiednmt.options import option_name
from tiednmt.patching import patch

logger = logging.getLogger(__name__)

_OURS = "tiednmt"  # our entry in a checkpoint's extra_state


def end_where_told() -> None:
    """Let a run that has come to its end train nothing when it is started again.

    fairseq checks whether to stop only after an update. A run that is started again after its end,
    or was killed after its last checkpoint, therefore trains one update too many. fairseq also
    counts the validations of ``--patience`` from zero.
    """

    def load_and_look(load: Callable[..., Any], cfg: Any, trainer: Trainer, **kwargs: Any) -> Any:
        extra_state, epoch_itr = load(cfg, trainer, **kwargs)
        ours = (extra_state or {}).get(_OURS)
        if trainer.get_num_updates() and isinstance(ours, Mapping):
            _warn_of_other_batches(ours, trainer.cfg, epoch_itr)
            if not cfg.reset_meters:
                _restore_patience(ours)
        if trainer.get_num_updates() and (reason := _end_reached(trainer)):
            logger.info(f"There is nothing left to train: {reason}")
            # the one condition that fairseq looks at before it trains
            with open_dict(trainer.cfg):
                trainer.cfg.optimization.max_epoch = -1
        return extra_state, epoch_itr

    def save_more(
        save: Callable[..., Any], self: Trainer, filename: str, extra_state: dict[str, Any]
    ) -> Any:
        more = {"batches": _batches(self.cfg), "patience": _patience()}
        return save(self, filename, {**extra_state, _OURS: more})

    patch(checkpoint_utils, "load_checkpoint", load_and_look)
    patch(Trainer, "save_checkpoint", save_more)


def stop_loading_at_exit() -> None:
    """Let the thread that loads batches ahead end before the interpreter does.

    fairseq leaves it at work when training stops within an epoch. Python then ends it in the middle
    of an operation of torch, which aborts the process (exit status 134) after all is done.
    """

    def create_and_note(create: Callable[..., None], self: BufferedIterator) -> None:
        create(self)
        _loading.add(self._consumer)

    patch(BufferedIterator, "_create_consumer", create_and_note)
    atexit.register(_stop_loading)


_loading: weakref.WeakSet[BackgroundConsumer] = weakref.WeakSet()


def _stop_loading() -> None:
    for thread in list(_loading):
        _stop(thread)


def _stop(thread: BackgroundConsumer) -> None:
    """Let the thread see after its next batch that it has loaded enough."""
    thread._max_len = 0
    while thread.is_alive():
        with contextlib.suppress(queue.Empty):  # it may wait for room
            thread._queue.get(timeout=0.01)


def _end_reached(trainer: Trainer) -> str | None:
    """Why training is over, by the conditions that fairseq looks at after an update."""
    cfg = trainer.cfg
    updates, most = trainer.get_num_updates(), cfg.optimization.max_update
    hours, longest = trainer.cumulative_training_time() / 3600, cfg.optimization.stop_time_hours
    if most and updates >= most:
        return f"the checkpoint has {updates:,} updates, and --max-update is {most:,}"
    if 0 < longest < hours:
        return f"it was trained for {hours:.1f} hours, and --stop-time-hours is {longest:g}"
    runs, patience = _patience().get("num_runs", 0), cfg.checkpoint.patience
    if 0 < patience <= runs:
        return f"the last {runs} validations were no better, and --patience is {patience}"
    return None


def _early_stopping() -> Any:
    """fairseq's function, which keeps what it counts as its attributes."""
    for module in ("fairseq_cli.train", "__main__"):
        found = getattr(sys.modules.get(module), "should_stop_early", None)
        if found is not None:
            return found
    return None


def _patience() -> dict[str, float]:
    counted = vars(_early_stopping() or (lambda: None))
    return {name: counted[name] for name in ("best", "num_runs") if counted.get(name) is not None}


def _restore_patience(ours: Mapping[str, Any]) -> None:
    patience = ours.get("patience")
    if isinstance(patience, Mapping) and (function := _early_stopping()) is not None:
        vars(function).update(patience)


def _batches(cfg: Any) -> dict[str, int | None]:
    """The options that say which sentences are in a batch."""
    dataset = cfg.dataset
    return {"--max-tokens": dataset.max_tokens, "--batch-size": dataset.batch_size}


def _warn_of_other_batches(ours: Mapping[str, Any], cfg: Any, epoch_itr: Any) -> None:
    """Warn if part of an epoch is seen twice or not at all: fairseq counts its batches."""
    before, now = ours.get("batches"), _batches(cfg)
    if not isinstance(before, Mapping) or epoch_itr.iterations_in_epoch == 0:
        return
    for option, value in now.items():
        if before.get(option) != value:
            logger.warning(
                f"{option} was {before.get(option)} and is {value}: the epoch continues after as"
                " many batches as before, so part of it is seen twice or not at all"
            )


class _ParallelAnywhere(DistributedDataParallel):
    """torch's, also for a model on a CPU, for which fairseq names a GPU too."""

    def __init__(self, module: torch.nn.Module, **options: Any) -> None:
        if not next(module.parameters()).is_cuda:
            options.update(device_ids=None, output_device=None)
        super().__init__(module, **options)


def share_gradients_on_cpus() -> None:
    """Let ``--ddp-backend pytorch_ddp``, the default, work with ``--cpu``."""
    distributed_fairseq_model.DistributedDataParallel = _ParallelAnywhere


def refuse_what_cannot_work() -> None:
    """One line at once where fairseq ends in a traceback, for every model."""

    def start_trainer(
        start: Callable[..., None], self: Trainer, cfg: Any, *args: Any, **kwargs: Any
    ) -> None:
        _require_trainable(cfg)
        start(self, cfg, *args, **kwargs)

    def call_main(call: Callable[..., Any], cfg: Any, main: Any, **kwargs: Any) -> Any:
        _require_searchable(cfg, main.__module__)
        _require_whole_models(cfg)
        return call(cfg, main, **kwargs)

    def infer_init_method(infer: Callable[..., Any], cfg: Any, *args: Any, **kwargs: Any) -> Any:
        if int(os.environ.get("WORLD_SIZE") or 1) > 1 and not torch.cuda.is_available():
            raise UserError(
                "torchrun without a GPU: start a process for each worker instead, with"
                " --distributed-world-size, --distributed-init-method tcp://HOST:PORT,"
                " --distributed-rank, --distributed-no-spawn, --distributed-backend gloo and"
                " --ddp-backend legacy_ddp"
            )
        return infer(cfg, *args, **kwargs)

    patch(Trainer, "__init__", start_trainer)
    patch(distributed_utils, "call_main", call_main)
    patch(distributed_utils, "infer_init_method", infer_init_method)


def _require_trainable(cfg: Any) -> None:
    for part in ("optimization", "optimizer", "lr_scheduler", "criterion", "model", "ema"):
        for name, value in _options(cfg.get(part)).items():
            for number in value if isinstance(value, list) else (value,):
                if isinstance(number, float) and math.isnan(number):
                    raise UserError(f"{option_name(name)} {number}: must be a number")
    common = cfg.common
    has_gpu = torch.cuda.is_available() and not common.cpu
    if common.tpu and importlib.util.find_spec("torch_xla") is None:
        raise UserError(
            "--bf16 means a TPU to fairseq-train, and torch_xla is not installed; use"
            " --float32-matmul-precision medium, or on a GPU --fp16 or --amp"
        )
    if common.fp16 and not (has_gpu or common.memory_efficient_fp16):
        raise UserError(
            "--fp16 needs a GPU; on a CPU use --float32-matmul-precision medium, or"
            " --memory-efficient-fp16"
        )


def _require_whole_models(cfg: Any) -> None:
    """A model of this package is whole in every process.

    fairseq's ways to split one need packages that are not installed with it, or fail later.
    """
    arch = registered_name(getattr(cfg, "model", None))
    if not issubclass(ARCH_MODEL_REGISTRY.get(arch, object), TiedModel):
        return
    parallel, model = cfg.distributed_training, f"a model of --arch {arch}"
    splits = {
        "--pipeline-model-parallel": parallel.pipeline_model_parallel,
        "--model-parallel-size": cfg.common.model_parallel_size > 1,
        "--ddp-backend fully_sharded": parallel.ddp_backend == "fully_sharded",
    }
    for option, given in splits.items():
        if given:
            raise UserError(
                f"{option}: {model} is not split over devices; every one trains the whole of it, "
                "with --ddp-backend legacy_ddp or pytorch_ddp"
            )
    if parallel.find_unused_parameters:  # torch takes those of the loss for unused
        raise UserError(
            f"--find-unused-parameters: {model} uses all of its parameters, those of the output "
            "layer outside of its forward pass; leave the option out"
        )


def _options(part: Any) -> dict[str, Any]:
    """The options of a part of fairseq's configuration, whatever it keeps them in."""
    if OmegaConf.is_config(part):
        part = OmegaConf.to_container(part)
    return part if isinstance(part, dict) else vars(part) if hasattr(part, "__dict__") else {}


def _require_searchable(cfg: Any, command: str) -> None:
    """Refuse options of ``fairseq-generate`` and its like that fail with every model."""
    generation = cfg.generation
    refine = getattr(cfg.task, "_name", None) == "translation_lev"
    if generation.diverse_beam_groups > 0:
        raise UserError(
            "--diverse-beam-groups: fails in fairseq as soon as a sentence of a batch is done; use"
            " --diversity-rate or --sampling"
        )
    if generation.print_step and not refine:
        raise UserError("--print-step: only for --task translation_lev; leave it out")
    if generation.constraints and command == "fairseq_cli.generate":
        raise UserError("--constraints: fairseq-interactive takes them, fairseq-generate does not")
    if getattr(cfg.scoring, "_name", None) == "wer" and not importlib.util.find_spec(
        "editdistance"
    ):
        raise UserError("--scoring wer needs the package editdistance; or use --scoring sacrebleu")

"""Threads and processes of fairseq's: they work together on CPUs, and they end."""

from __future__ import annotations

import atexit
import contextlib
import queue
import weakref
from collections.abc import Callable
from typing import Any

import torch
from fairseq.data.iterators import BackgroundConsumer, BufferedIterator
from fairseq.distributed import utils as distributed_utils
from fairseq.models import distributed_fairseq_model
from fairseq.trainer import Trainer
from torch.nn.parallel import DistributedDataParallel

from tiednmt.patches.patch import patch


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


def end_process_groups() -> None:
    """Let the threads by which workers talk to each other end before the interpreter does.

    fairseq never ends its process groups, as torch asks of programs, so that gloo's threads are
    still there while Python takes the process apart.
    """

    def train_and_end(train: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        train(*args, **kwargs)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
            vars(distributed_utils.get_global_group).pop("_global_group", None)  # fairseq's own

    patch(distributed_utils, "distributed_main", train_and_end)


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


class _ParallelAnywhere(DistributedDataParallel):
    """torch's, also for a model on a CPU, for which fairseq names a GPU too."""

    def __init__(self, module: torch.nn.Module, **options: Any) -> None:
        if not next(module.parameters()).is_cuda:
            options.update(device_ids=None, output_device=None)
        super().__init__(module, **options)


def share_gradients_on_cpus() -> None:
    """Let ``--ddp-backend pytorch_ddp``, the default, work with ``--cpu``."""
    distributed_fairseq_model.DistributedDataParallel = _ParallelAnywhere


def count_all_batches() -> None:
    """Let a worker's batches count although an epoch has none left for the rest of its update.

    fairseq then gives it an empty batch, and because of that leaves the tokens of the others out of
    the number that divides the gradient, and out of the log.
    """

    def train_step(
        step: Callable[..., Any], self: Trainer, samples: list[Any], *args: Any, **kwargs: Any
    ) -> Any:
        return step(self, [sample for sample in samples if sample] or samples[:1], *args, **kwargs)

    patch(Trainer, "train_step", train_step)


def end_updates_together() -> None:
    """Call ``end_update`` of a task and of a criterion that have it after each update.

    All workers call it. fairseq tells tasks of each batch, of which some workers may have one less,
    and of the optimizer's step, which is left out when a gradient overflows.
    """

    def train_step(
        step: Callable[..., Any], self: Trainer, samples: list[Any], *args: Any, **kwargs: Any
    ) -> Any:
        logged = step(self, samples, *args, **kwargs)
        if (end_update := getattr(self.task, "end_update", None)) is not None:
            end_update()
        if (end_update := getattr(self.get_criterion(), "end_update", None)) is not None:
            end_update(self.get_model(), self.get_num_updates())
        return logged

    patch(Trainer, "train_step", train_step)

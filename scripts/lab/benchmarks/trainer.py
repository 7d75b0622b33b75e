"""fairseq's trainer, as ``fairseq-train`` makes it, for benchmarks that make updates themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from fairseq import options as fairseq_options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer

import tiednmt.plugin  # noqa: F401
from scripts.lab.run.specs import Recipe, fairseq_train_arguments, merge


def trainer_of(recipe: Recipe, data: str, task_of: Callable[[Any], FairseqTask]) -> Trainer:
    """A trainer of a new model.

    Args:
        recipe: what is trained, and how.
        data: what ``fairseq-train`` is told of the data.
        task_of: makes the task, from fairseq's configuration.
    """
    if not torch.cuda.is_available():
        recipe = merge(recipe, {"common": {"cpu": True}})
    parser = fairseq_options.get_training_parser()
    command = [data, *fairseq_train_arguments(recipe)]
    config = convert_namespace_to_omegaconf(fairseq_options.parse_args_and_arch(parser, command))
    config.common.tpu = False  # which --bf16 of fairseq-train means
    task = task_of(config)
    model, criterion = task.build_model(config.model), task.build_criterion(config.criterion)
    return Trainer(config, task, model, criterion)

"""fairseq's trainer, as ``fairseq-train`` makes it, for benchmarks that make updates themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from fairseq import options as fairseq_options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer

import tiednmt.plugin  # noqa: F401
from scripts.lab.benchmarks.options import TranslationModels
from scripts.lab.run.specs import Recipe, fairseq_train_arguments, merge
from tiednmt.options import option


@dataclass(frozen=True, kw_only=True)
class ModelsInTrainers(TranslationModels):
    """Our model and fairseq's, each in a trainer of the benchmark's own.

    Where ours trains in bfloat16, fairseq's does too.
    """

    cuda_graphs: bool = option("train our model with --cuda-graphs", default=False)

    @property
    def name(self) -> str:
        """The name of our model in tables."""
        return f"{super().name}{', --cuda-graphs' if self.cuda_graphs else ''}"

    @property
    def stock_precision(self) -> str:
        """bfloat16 where ours has it."""
        return "bf16" if self.precision == "bf16" else super().stock_precision

    def recipe_in_precision(self) -> Recipe:
        """Our recipe, in the precision asked for and with CUDA graphs if they are."""
        graphs = {"criterion": {"cuda_graphs": True}} if self.cuda_graphs else {}
        return merge(super().recipe_in_precision(), graphs)

    def stock_recipe(self) -> Recipe:
        """fairseq's own model in the same recipe, without the plugin."""
        halved = {"common": {"bf16": True}} if self.stock_precision == "bf16" else {}
        return merge(super().stock_recipe(), halved)


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

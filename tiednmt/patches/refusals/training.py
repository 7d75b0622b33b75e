"""Options that no training works with."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from tiednmt.errors import UserError
from tiednmt.options import option_name
from tiednmt.patches.refusals.configuration import is_tied, options_of_part
from tiednmt.patches.refusals.values import require_numbers


def require_trainable(cfg: Any) -> None:
    """Refuse options that no training works with."""
    require_numbers(cfg)
    _require_alignments_of_the_model(cfg)
    if is_tied(cfg):
        _require_use_of_model_options(cfg)
    checkpoint = cfg.checkpoint
    if checkpoint.best_checkpoint_metric == "bleu" and not (
        checkpoint.maximize_best_checkpoint_metric
    ):
        raise UserError(
            "--best-checkpoint-metric bleu: keeps the checkpoint with the lowest BLEU; add"
            " --maximize-best-checkpoint-metric"
        )
    if any(updates < 1 for updates in cfg.optimization.update_freq):
        raise UserError("--update-freq: batches per update, each number 1 or more")
    _require_optimizer(cfg)
    _require_precision(cfg.common)


def _require_use_of_model_options(cfg: Any) -> None:
    """Refuse options of models of this package that nothing would heed."""
    model, task = (options_of_part(cfg.get(part)) for part in ("model", "task"))
    criterion = options_of_part(cfg.get("criterion")).get("_name")
    for name in ("activation_penalty", "temporal_activation_penalty"):
        if model.get(name) and criterion != "tied_cross_entropy":
            raise UserError(
                f"{option_name(name)} {model[name]:g}: --criterion {criterion} does not add it to"
                " the loss; use tied_cross_entropy, or 0"
            )
    is_of_language_models = "tokens_per_sample" in task
    if is_of_language_models and task.get("max_target_positions") is not None:
        raise UserError(
            "--max-target-positions: language models of this package read text of any length;"
            " leave it out"
        )


def _require_optimizer(cfg: Any) -> None:
    """Refuse an optimizer or a schedule that lacks what it needs."""
    optimizer = options_of_part(cfg.get("optimizer"))
    if optimizer.get("_name") == "composite" and not optimizer.get("groups"):
        raise UserError(
            "--optimizer composite: fairseq-train has no option for its groups, which only a"
            " configuration of fairseq-hydra-train has; use another optimizer"
        )
    schedule = options_of_part(cfg.get("lr_scheduler")).get("_name")
    if optimizer.get("_name") == "tied_averaged_sgd" and schedule != "tied_non_monotonic":
        raise UserError(
            f"--optimizer tied_averaged_sgd: --lr-scheduler {schedule} never tells it to average;"
            " use tied_non_monotonic, or --optimizer sgd"
        )
    if schedule == "tied_non_monotonic" and cfg.dataset.disable_validation:
        raise UserError(
            "--disable-validation: --lr-scheduler tied_non_monotonic averages once validation stops"
            " improving; leave the option out"
        )
    if schedule == "reduce_lr_on_plateau" and cfg.dataset.disable_validation:
        raise UserError(
            "--disable-validation: --lr-scheduler reduce_lr_on_plateau lowers the rate once"
            " validation stops improving; leave the option out, or choose another scheduler"
        )


def _require_precision(common: Any) -> None:
    """Refuse half precision where it needs another device or package."""
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


def _require_alignments_of_the_model(cfg: Any) -> None:
    """Refuse a loss of the attention for a model that has none to give in training."""
    criterion = options_of_part(cfg.get("criterion")).get("_name")
    aligned = options_of_part(cfg.get("task")).get("load_alignments")
    model = options_of_part(cfg.get("model"))
    if criterion != "label_smoothed_cross_entropy_with_alignment" or not aligned:
        return
    if is_tied(cfg) and None in (model.get("alignment_layer"), model.get("alignment_heads")):
        raise UserError(
            f"--criterion {criterion}: trains the attention of --arch tied_transformer that"
            " --alignment-layer and --alignment-heads name; give both"
        )

"""``fairseq-train`` ends where it was told, and goes on where it ended."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from fairseq import checkpoint_utils
from fairseq.trainer import Trainer
from omegaconf import open_dict

from tiednmt.patches.patch import patch

logger = logging.getLogger(__name__)

PROGRESS = "tiednmt"  # our entry in a checkpoint's extra_state


def stop_finished_runs() -> None:
    """Let a run that has come to its end train nothing when it is started again.

    fairseq checks whether to stop only after an update. A run that is started again after its end,
    or was killed after its last checkpoint, therefore trains one update too many. fairseq also
    counts the validations of ``--patience`` from zero, and compares with the best value of before
    even if that is one of another metric.
    """

    def load_and_look(load: Callable[..., Any], cfg: Any, trainer: Trainer, **kwargs: Any) -> Any:
        extra_state, epoch_itr = load(cfg, trainer, **kwargs)
        ours = (extra_state or {}).get(PROGRESS)
        if trainer.get_num_updates() and isinstance(ours, Mapping):
            _warn_of_other_batches(ours, trainer.cfg, epoch_itr)
            if not cfg.reset_meters:
                _restore_best(ours, cfg.best_checkpoint_metric)
        if trainer.get_num_updates() and (reason := _end_reached(trainer)):
            logger.info(f"There is nothing left to train: {reason}")
            # the one condition that fairseq looks at before it trains
            with open_dict(trainer.cfg):
                trainer.cfg.optimization.max_epoch = -1
        return extra_state, epoch_itr

    def save_more(
        save: Callable[..., Any], self: Trainer, filename: str, extra_state: dict[str, Any]
    ) -> Any:
        metric = self.cfg.checkpoint.best_checkpoint_metric
        more = {"batches": _batches(self.cfg), "patience": _patience(), "metric": metric}
        return save(self, filename, {**extra_state, PROGRESS: more})

    patch(checkpoint_utils, "load_checkpoint", load_and_look)
    patch(Trainer, "save_checkpoint", save_more)


def forget_earlier_runs() -> None:
    """Let a training begin without the best loss and the patience of another in the same process.

    fairseq keeps them as attributes of functions. In a sweep of hydra, whose jobs run in one
    process, a job that is worse than an earlier one would leave no ``checkpoint_best.pt``.
    """

    def start_anew(start: Callable[..., None], self: Trainer, *args: Any, **kwargs: Any) -> None:
        for kept in (vars(checkpoint_utils.save_checkpoint), _counted()):
            for name in ("best", "num_runs"):
                kept.pop(name, None)
        start(self, *args, **kwargs)

    patch(Trainer, "__init__", start_anew)


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


def _counted() -> dict[str, Any]:
    """What fairseq's early stopping counts: the attributes of its function."""
    for module in ("fairseq_cli.train", "__main__"):
        function = getattr(sys.modules.get(module), "should_stop_early", None)
        if function is not None:
            return vars(function)
    return {}


def _patience() -> dict[str, float]:
    counted = _counted()
    return {name: counted[name] for name in ("best", "num_runs") if counted.get(name) is not None}


def _restore_best(ours: Mapping[str, Any], metric: str) -> None:
    """Go on with the best value so far and its patience, unless they are of another metric."""
    before = ours.get("metric", metric)
    if before != metric:
        logger.warning(
            f"--best-checkpoint-metric was {before} and is {metric}: the best checkpoint is chosen"
            " anew, from the next validation on"
        )
        vars(checkpoint_utils.save_checkpoint).pop("best", None)
    elif isinstance(patience := ours.get("patience"), Mapping):
        _counted().update(patience)


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

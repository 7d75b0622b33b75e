"""``fairseq-train`` that writes ``run.json`` to ``--save-dir``: size, seconds, validations, scales.

fairseq keeps the validations of a training only in its log. Its function that collects the figures
of a validation gets the trainer, which knows the rest, so that function is wrapped here. The
training itself does not change.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fairseq_cli import train  # first, so that its format of the log applies

import tiednmt.plugin  # noqa: F401  (once it is imported, --user-dir imports nothing)
from scripts.lab.records.schema import Validation
from scripts.lab.run.summary import add_validation
from tiednmt.models.tied_model import TiedModel


class Recorder:
    """Wraps the two functions of ``fairseq_cli.train`` that validate."""

    def __init__(self) -> None:
        self.validate, self.stats = train.validate, train.get_valid_stats
        self.epoch = 0

    def install(self) -> None:
        """Replace the two functions."""
        train.validate, train.get_valid_stats = self.validate_in_epoch, self.recorded_stats

    def validate_in_epoch(
        self, cfg: Any, trainer: Any, task: Any, epoch_itr: Any, subsets: Any
    ) -> Any:
        """``train.validate``, which alone knows the epoch."""
        self.epoch = epoch_itr.epoch
        return self.validate(cfg, trainer, task, epoch_itr, subsets)

    def recorded_stats(
        self, cfg: Any, trainer: Any, stats: dict[str, Any], is_first: bool
    ) -> dict[str, Any]:
        """``train.get_valid_stats``; the first subset decides which checkpoint is best."""
        stats = self.stats(cfg, trainer, stats, is_first)
        if is_first and trainer.is_data_parallel_master:
            model = trainer.get_model()
            scales = model.learned_scales if isinstance(model, TiedModel) else {}
            add_validation(
                Path(cfg.checkpoint.save_dir),
                Validation(
                    update=stats["num_updates"],
                    epoch=self.epoch,
                    nll=round(stats["nll_loss"] * math.log(2), 4),  # fairseq's are bits
                ),
                sum(parameter.numel() for parameter in model.parameters()),
                trainer.cumulative_training_time(),
                {use: round(float(scale), 4) for use, scale in scales.items()} or None,
            )
        return stats


if __name__ == "__main__":
    Recorder().install()
    train.cli_main()

"""``fairseq-train`` that leaves ``run.json`` in ``--save-dir``: size, seconds, validations, scales.

fairseq keeps the validations of a training nowhere but in its log. Its function that gathers the
figures of a validation is handed the trainer, which knows the rest, so it is wrapped here. The
training itself is the same.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fairseq_cli import train  # before anything of fairseq, for its format of the log

import tiednmt.plugin  # noqa: F401  (what is imported already, --user-dir imports no more)
from scripts.lab.records.schema import Validation
from scripts.lab.run.summary import add_validation
from tiednmt.models.tied_model import TiedModel


class Recorder:
    """Takes the place of two functions of ``fairseq_cli.train``."""

    def __init__(self) -> None:
        self.validate, self.stats = train.validate, train.get_valid_stats
        self.epoch = 0

    def install(self) -> None:
        """From now on."""
        train.validate, train.get_valid_stats = self.validate_in_epoch, self.recorded_stats

    def validate_in_epoch(
        self, cfg: Any, trainer: Any, task: Any, epoch_itr: Any, subsets: Any
    ) -> Any:
        """``train.validate``; the epoch is known here alone."""
        self.epoch = epoch_itr.epoch
        return self.validate(cfg, trainer, task, epoch_itr, subsets)

    def recorded_stats(
        self, cfg: Any, trainer: Any, stats: dict[str, Any], is_first: bool
    ) -> dict[str, Any]:
        """``train.get_valid_stats``; the first subset is the one that chooses a checkpoint."""
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

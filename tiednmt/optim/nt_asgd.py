"""NT-ASGD for fairseq: SGD that averages once validation stops improving (Merity et al. 2018)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from omegaconf import II
from torch.nn import Parameter

from tiednmt.errors import UserError
from tiednmt.optim.averaged_sgd import AveragedSGD
from tiednmt.options import natural, not_negative, number_field, require_ranges


@dataclass
class TiedAveragedSGDConfig(FairseqDataclass):
    """Options of ``--optimizer tied_averaged_sgd``."""

    weight_decay: float = number_field(0.0, "weight decay", not_negative, argparse_alias="--wd")
    lr: list[float] = field(default=II("optimization.lr"))


@register_optimizer("tied_averaged_sgd", dataclass=TiedAveragedSGDConfig)
class TiedAveragedSGD(FairseqOptimizer):
    """:class:`AveragedSGD`, told by ``--lr-scheduler tied_non_monotonic`` when to average."""

    def __init__(self, cfg: TiedAveragedSGDConfig, params: Iterable[Parameter]) -> None:
        super().__init__(cfg)
        require_ranges(cfg, TiedAveragedSGDConfig)
        self._optimizer = AveragedSGD(params, **self.optimizer_config)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """The options that override the state of a checkpoint when training resumes."""
        return {"lr": self.cfg.lr[0], "weight_decay": self.cfg.weight_decay}


@dataclass
class TiedNonMonotonicConfig(FairseqDataclass):
    """Options of ``--lr-scheduler tied_non_monotonic``."""

    non_monotone_interval: int = number_field(
        5,
        "start averaging the weights once the validation loss (or other "
        "--best-checkpoint-metric) is worse than the best of all epochs more than N epochs "
        "older",
        natural,
    )
    maximize_best_checkpoint_metric: bool = field(
        default=II("checkpoint.maximize_best_checkpoint_metric")
    )
    lr: list[float] = field(default=II("optimization.lr"))


@register_lr_scheduler("tied_non_monotonic", dataclass=TiedNonMonotonicConfig)
class TiedNonMonotonic(FairseqLRScheduler):
    """The trigger of NT-ASGD (Merity et al. 2018, algorithm 1); the rate stays as it is."""

    def __init__(self, cfg: TiedNonMonotonicConfig, optimizer: FairseqOptimizer) -> None:
        super().__init__(cfg, optimizer)
        if not isinstance(optimizer, TiedAveragedSGD):
            raise UserError(
                "--lr-scheduler tied_non_monotonic goes with --optimizer tied_averaged_sgd, "
                "in single precision"
            )
        require_ranges(cfg, TiedNonMonotonicConfig)
        if len(cfg.lr) > 1:
            raise UserError(
                f"--lr {','.join(map(str, cfg.lr))}: --lr-scheduler tied_non_monotonic keeps one "
                "rate; give one"
            )
        self.losses: list[float] = []  # of validation, an epoch each; a score is a loss of −score

    def state_dict(self) -> dict[str, Any]:
        """The losses so far."""
        return {"losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the losses of a checkpoint."""
        self.losses = list(state_dict["losses"])

    def step_update(self, num_updates: int) -> float:
        """Set the rate to ``--lr``, whatever it was when the checkpoint was saved."""
        self.optimizer.set_lr(self.cfg.lr[0])
        rate: float = self.optimizer.get_lr()
        return rate

    def step(self, epoch: int, val_loss: float | None = None) -> None:
        """After an epoch with validation, start averaging if it is time."""
        if val_loss is None:
            return
        loss = -val_loss if self.cfg.maximize_best_checkpoint_metric else val_loss
        older = self.losses[: max(0, len(self.losses) - self.cfg.non_monotone_interval)]
        if older and loss > min(older):
            self.optimizer.optimizer.start_averaging()
        self.losses.append(loss)

"""Stochastic gradient descent that averages its iterates from some update on; torch only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter


class AveragedSGD(torch.optim.SGD):
    """SGD, and the mean of its iterates since :meth:`start_averaging` (Polyak & Juditsky 1992).

    In training, the parameters hold the last iterate, at which the gradient is taken. With
    :meth:`show_average` they hold the mean, for validation and saving.

    Args:
        params: the parameters to optimise.
        lr: learning rate.
        weight_decay: L2 penalty, as of :class:`torch.optim.SGD`.
    """

    def __init__(
        self, params: Iterable[Parameter], lr: float = 1e-3, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay)
        for group in self.param_groups:
            group.setdefault("averaged", 0)  # iterates in the mean
            group.setdefault("shows_average", False)

    @property
    def averages(self) -> bool:
        """Whether averaging has started."""
        return any(group["averaged"] for group in self.param_groups)

    def start_averaging(self) -> None:
        """Let the mean begin with the weights as they are; a second call changes nothing."""
        if self.averages:
            return
        for group in self.param_groups:
            group["averaged"] = 1
            for parameter in group["params"]:
                self.state[parameter]["other"] = parameter.detach().clone()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one update and include it in the mean."""
        self.show_average(False)
        loss = super().step(closure)
        for group in self.param_groups:
            if group["averaged"]:
                group["averaged"] += 1
                means = self._others(group)
                torch._foreach_lerp_(means, group["params"], 1 / group["averaged"])
        return loss

    @torch.no_grad()
    def show_average(self, shown: bool) -> None:
        """Let the parameters hold the mean or the last iterate (equal before averaging)."""
        for group in self.param_groups:
            if not group["averaged"] or group["shows_average"] == shown:
                continue
            group["shows_average"] = shown
            for parameter, other in zip(group["params"], self._others(group), strict=True):
                held = parameter.detach().clone()
                parameter.copy_(other)
                other.copy_(held)

    def _others(self, group: dict[str, Any]) -> list[Tensor]:
        """The mean or the last iterate, whichever the parameters do not hold now."""
        return [self.state[parameter]["other"] for parameter in group["params"]]

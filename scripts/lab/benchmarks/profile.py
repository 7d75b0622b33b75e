"""Where the time of an update of ``fairseq-train`` goes.

  python -m scripts.lab.benchmarks.profile WARM_UP fairseq_cli.train DATA --max-update 50 …

trains as the command behind it does and prints the milliseconds of an update by part, as JSON,
after ``WARM_UP`` updates. The parts are timed in this process alone, from outside of fairseq: its
trainer is replaced by one that times what it calls.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import fairseq_cli.train
import torch
from fairseq.data import iterators
from fairseq.trainer import Trainer

import tiednmt.plugin  # noqa: F401

REST = "rest"
PARTS = ("data", "forward", "backward", "clipping", "optimizer", "statistics", REST)
OF_OPTIMIZER = {
    "backward": "backward",
    "multiply_grads": "clipping",
    "clip_grad_norm": "clipping",
    "step": "optimizer",
    "zero_grad": "optimizer",
}


class Stopwatch:
    """Seconds of named parts, each without the parts inside it; ``rest`` is outside of them all."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._open = [REST]
        self.reset()

    def reset(self) -> None:
        """Count from here."""
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._since = self._clock()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, its time counted as ``part``."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.turn()
            self._open.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.turn()
                self._open.pop()

        return call

    def turn(self) -> None:
        """Count the time so far for the part that is open."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = self._clock()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now


def timed_trainer(watch: Stopwatch, warm_up: int) -> type[Trainer]:
    """fairseq's trainer, timed; ``milliseconds`` are those of an update after ``warm_up``."""

    class TimedTrainer(Trainer):
        milliseconds: dict[str, float]

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._criterion.forward = watch.timed("forward", self._criterion.forward)
            for name, part in OF_OPTIMIZER.items():
                setattr(self.optimizer, name, watch.timed(part, getattr(self.optimizer, name)))

        _prepare_sample = watch.timed("data", Trainer._prepare_sample)
        _reduce_and_log_stats = watch.timed("statistics", Trainer._reduce_and_log_stats)

        def train_step(self, *args: Any, **kwargs: Any) -> Any:
            output = super().train_step(*args, **kwargs)
            watch.turn()
            counted = self.get_num_updates() - warm_up
            if counted > 0:
                TimedTrainer.milliseconds = {
                    part: 1000 * seconds / counted for part, seconds in watch.seconds.items()
                }
            else:
                watch.reset()
            return output

    return TimedTrainer


def main() -> None:
    """Train, then print the parts."""
    warm_up, module = int(sys.argv[1]), sys.argv[2]
    watch = Stopwatch()
    trainer = timed_trainer(watch, warm_up)
    fairseq_cli.train.Trainer = trainer
    following = iterators.CountingIterator.__next__
    iterators.CountingIterator.__next__ = watch.timed("data", following)
    sys.argv = [module, *sys.argv[3:]]
    import_module(module).cli_main()
    print(json.dumps(trainer.milliseconds))


if __name__ == "__main__":
    main()

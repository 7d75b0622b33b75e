"""What ``--measure-gradients`` costs a training.

A process makes two updates on each of several batches. The first is measured, and the second writes
the measurements. The time spent on measuring is taken within these two updates, since a comparison
with other updates would drown in the noise of the machine.

  python -m scripts.lab.benchmarks.gradients --data runs/multi30k-en-de/data --max-tokens 4000
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import islice
from statistics import median
from typing import Any

import torch
from fairseq.tasks import setup_task
from fairseq.trainer import Trainer

from scripts.lab.benchmarks.compare import Measured, figures, ratios
from scripts.lab.benchmarks.measured_process import printed_by_module
from scripts.lab.benchmarks.options import OurModel, PreparedData, Threads, in_batches
from scripts.lab.benchmarks.trainer import trainer_of
from scripts.lab.run.specs import merge
from tiednmt.criterions.gradient_shares import GradientShares
from tiednmt.options import add_options, command_words, from_arguments, option, positive

WHAT = "updates per second of processor time, measured updates among them"


@dataclass(frozen=True, kw_only=True)
class Batches(OurModel, PreparedData):
    """The model that one process trains, and the number of batches."""

    experiment: str | None = option("experiment whose recipe is used", default="multi30k-en-de")
    max_tokens: int = option("tokens per batch", default=1000, type=positive)
    batches: int = option("batches to train on", default=20, type=positive)


@dataclass(frozen=True, kw_only=True)
class Gradients(Batches, Threads):
    """Options of ``scripts.benchmark gradients``."""

    every: int = option("N of --measure-gradients N", default=100, type=positive)


def measure(options: Gradients) -> dict[str, Any]:
    """Updates per second with every so many of them measured, and without."""
    batches = Batches(**{each.name: getattr(options, each.name) for each in fields(Batches)})
    command = ["scripts.lab.benchmarks.gradients", *command_words(batches)]
    seconds = printed_by_module(command, options.threads)
    plain = [Measured(1 / update) for update, _ in seconds]
    ours = [Measured(1 / (update + more / options.every)) for update, more in seconds]
    update, more = (1000 * median(column) for column in zip(*seconds, strict=True))
    parts = {"without measuring": round(update, 2), "more, where measured": round(more, 2)}
    name = options.name
    return {
        "ours": {**figures(f"{name}, --measure-gradients {options.every}", ours), "parts": parts},
        "against": figures(f"{name}, without", plain),
        **ratios(ours, plain),
        "repetition": f"{len(seconds)} batches, both sides from the same updates",
    }


def measure_batches(options: Batches) -> list[tuple[float, float]]:
    """Per batch, the seconds of an update and the additional seconds of a measured one.

    The first batch warms up, and is where the training text is read; it is not counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        recipe = merge(
            in_batches(options.recipe_in_precision(), options.max_tokens),
            {"criterion": {"measure_gradients": 2}, "checkpoint": {"save_dir": folder}},
        )
        data_bin = str(options.data / "data-bin")
        trainer = trainer_of(recipe, data_bin, lambda config: setup_task(config.task))
        watch = Watch(trainer.get_criterion().gradient_shares)
        iterator = trainer.get_train_iterator(epoch=1).next_epoch_itr(shuffle=True)
        trainer.begin_epoch(1)
        seconds = [_of_batch(trainer, watch, b) for b in islice(iterator, options.batches + 1)]
    return seconds[1:]


class Watch:
    """Counts the ``seconds`` that measuring takes."""

    def __init__(self, shares: GradientShares) -> None:
        self.seconds = 0.0
        for name in ("observe", "_add_rows", "_add_output"):  # all that a training calls
            setattr(shares, name, self._timed(getattr(shares, name)))

    def _timed(self, function: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            started = now()
            function(*args)
            self.seconds += now() - started

        return call


def _of_batch(trainer: Trainer, watch: Watch, batch: Any) -> tuple[float, float]:
    for _ in range(2):  # the first time makes the kernels for the shapes of the batch
        watch.seconds, started = 0.0, now()
        trainer.train_step([batch])
        trainer.train_step([batch])
        both = now() - started
    return (both - watch.seconds) / 2, watch.seconds


def now() -> float:
    """Seconds of the processor, or of the clock where a GPU computes."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Print the seconds as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, Batches)
    print(json.dumps(measure_batches(from_arguments(Batches, parser.parse_args()))))


if __name__ == "__main__":
    main()

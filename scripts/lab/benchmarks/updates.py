"""Updates of our model and of another in turn, in one process, once both are warm.

What a command does besides (start-up, loading data, saving) is left out: ``train`` measures that.
Both sides train on the same batches, in bfloat16 or each in its single precision.

  python -m scripts.lab.benchmarks.updates --data runs/multi30k-en-de/data --precision bf16
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from fairseq.tasks import setup_task
from fairseq.trainer import Trainer

from scripts.lab.benchmarks.compare import Measured, figures, ratios
from scripts.lab.benchmarks.measured_process import printed_by_module
from scripts.lab.benchmarks.options import Training, in_batches
from scripts.lab.benchmarks.roofline import share_of_limit
from scripts.lab.benchmarks.trainer import ModelsInTrainers, trainer_of
from scripts.lab.run.specs import Recipe, merge
from tiednmt.options import add_options, command_words, from_arguments, option, positive

WHAT = "tokens predicted per second by updates of a warm trainer, all batches seen before"
WARM_UP = 3  # rounds: a CUDA graph is captured in the second


@dataclass(frozen=True, kw_only=True)
class Updates(ModelsInTrainers, Training):
    """Options of ``scripts.benchmark updates``."""

    updates: int = option("updates per round, each of another batch", default=50, type=positive)
    max_tokens: int = option("tokens per batch", default=4000, type=positive)
    against_row: str | None = option(
        "row of the experiment to compare with, instead of a model of fairseq", default=None
    )

    def sides(self) -> list[tuple[str, Recipe]]:
        """The name of each side, and what it trains."""
        ours = self.recipe_in_precision()
        if self.against_row is None:
            sides = [(self.name, ours), (self.stock_name, self.stock_recipe())]
        else:
            self.recipe_of(self.against_row, "--against-row")  # or the error would name --row
            other = replace(self, row=self.against_row, against_row=None)
            sides = [
                (f"{self.row}: {self.name}", ours),
                (f"{other.row}: {other.name}", other.recipe_in_precision()),
            ]
        return [(name, in_batches(recipe, self.max_tokens)) for name, recipe in sides]


def measure(options: Updates) -> dict[str, Any]:
    """Rates of both sides, the time of their warm-up, and our share of the machine's limit."""
    command = ["scripts.lab.benchmarks.updates", *command_words(options)]
    printed = printed_by_module(command, options.threads)
    ours, theirs = ([Measured(rate) for rate in printed[side]] for side in ("ours", "against"))
    names = [name for name, _ in options.sides()]
    record = {"ours": figures(names[0], ours), "against": figures(names[1], theirs)}
    for side, rounds in printed["warm_up"].items():
        record[side]["warm_up"] = rounds
    limit = share_of_limit(options, record["ours"]["median"])
    return {**record, **ratios(ours, theirs), "limit": limit}


class Updated:
    """A model that is trained on the same batches over and over."""

    def __init__(self, trainer: Trainer, batches: list[Any]) -> None:
        self.trainer, self.batches = trainer, batches
        self.tokens = sum(int(batch["ntokens"]) for batch in batches)
        trainer.begin_epoch(1)

    def seconds(self) -> float:
        """The seconds that a round takes."""
        started = time.perf_counter()
        for batch in self.batches:
            self.trainer.train_step([batch])
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - started


def measure_in_turn(options: Updates) -> dict[str, Any]:
    """Tokens per second of each round, and milliseconds per update in each round before."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = (_trainer(recipe, options, folder) for _, recipe in options.sides())
        iterator = ours.get_train_iterator(epoch=1).next_epoch_itr(shuffle=True)
        batches = [*islice(iterator, options.updates)]
        theirs.get_train_iterator(epoch=1)
        sides = {"ours": Updated(ours, batches), "against": Updated(theirs, batches)}
        warm_up = {
            name: [round(1000 * side.seconds() / len(batches), 2) for _ in range(WARM_UP)]
            for name, side in sides.items()
        }
        rates: dict[str, Any] = {name: [] for name in sides}
        for _ in range(options.runs):
            for name, side in sides.items():
                rates[name].append(side.tokens / side.seconds())
    return {**rates, "warm_up": warm_up}


def _trainer(recipe: Recipe, options: Updates, folder: str) -> Trainer:
    recipe = merge(recipe, {"checkpoint": {"save_dir": folder}})
    return trainer_of(
        recipe, str(options.data / "data-bin"), lambda config: setup_task(config.task)
    )


def main() -> None:
    """Print the rates as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, Updates)
    print(json.dumps(measure_in_turn(from_arguments(Updates, parser.parse_args()))))


if __name__ == "__main__":
    main()

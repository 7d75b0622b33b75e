"""How long ``fairseq-train`` takes to its first update, against fairseq's own model."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scripts.lab.benchmarks.compare import Measured, Side, compare
from scripts.lab.benchmarks.measured_process import run_module
from scripts.lab.benchmarks.options import Paired, PreparedData, TranslationModels, in_batches
from scripts.lab.benchmarks.training import fairseq_command
from scripts.lab.run.specs import Recipe, merge
from scripts.lab.run.training import log_entry
from tiednmt.options import option, positive

WHAT = "start-ups per minute, from the command to the first update of fairseq-train"
ONE_UPDATE = {"common": {"log_interval": 1}, "optimization": {"max_update": 1}}


@dataclass(frozen=True, kw_only=True)
class StartUp(TranslationModels, Paired, PreparedData):
    """Options of ``scripts.benchmark start-up``."""

    max_tokens: int = option("tokens per batch", default=1000, type=positive)


def measure(options: StartUp) -> dict[str, Any]:
    """The tied model with the plugin, and fairseq's own without it."""
    ours, stock = options.recipe_in_precision(), options.stock_recipe()
    return compare(
        Side(options.name, partial(_start_ups, ours, options)),
        Side(options.stock_name, partial(_start_ups, stock, options)),
        options.runs,
    )


def _start_ups(recipe: Recipe, options: StartUp) -> Measured:
    recipe = merge(in_batches(recipe, options.max_tokens), ONE_UPDATE)
    updated: list[float] = []

    def look(line: str) -> None:
        if log_entry(line, "train_inner"):
            updated.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        command = fairseq_command(recipe, options.data, Path(folder))
        started = time.perf_counter()
        run_module(command, options.threads, Path(folder) / "train.log", on_line=look)
    return Measured(60 / (updated[0] - started))

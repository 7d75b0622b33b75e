"""How long ``fairseq-train`` takes to its first update, beside fairseq's own model."""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

from scripts.lab.benchmarks.compare import Measured, Side, run_module
from scripts.lab.benchmarks.training import (
    fairseq_command,
    our_name,
    our_translation,
    stock_translation,
)
from scripts.lab.run.specs import Recipe, merge
from scripts.lab.run.training import log_entry

WHAT = "starts a minute, from the command to the first update of fairseq-train"
ONE_UPDATE = {"common": {"log_interval": 1}, "optimization": {"max_update": 1}}


def start_up_sides(args: argparse.Namespace) -> tuple[Side, Side]:
    """The tied model with the plugin, and fairseq's ``lstm`` without it."""
    return (
        Side(our_name(args), partial(_starts, our_translation(args), args)),
        Side(f"fairseq {args.against}", partial(_starts, stock_translation(args), args)),
    )


def _starts(recipe: Recipe, args: argparse.Namespace) -> Measured:
    updated: list[float] = []

    def look(line: str) -> None:
        if log_entry(line, "train_inner"):
            updated.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        command = fairseq_command(merge(recipe, ONE_UPDATE), args.data, Path(folder))
        started = time.perf_counter()
        run_module(command, args.threads, Path(folder) / "train.log", on_line=look)
    return Measured(60 / (updated[0] - started))

"""Beam search beside fairseq's: ``fairseq-generate`` on a real test set."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scripts.lab.benchmarks.compare import Measured, Side, compare, run_module
from scripts.lab.benchmarks.options import Paired
from tiednmt.checkpoints import read_checkpoint, registered_name
from tiednmt.errors import UserError
from tiednmt.options import option, positive

WHAT = "sentences a second by fairseq-generate, beam 5, test set"


@dataclass(frozen=True, kw_only=True)
class Generation(Paired):
    """Options of ``scripts.benchmark generate``.

    Raises:
        UserError: the folder is not that of a trained experiment.
    """

    run: Path = option("folder of an experiment on translation, trained", metavar="DIR")
    row: str = option("row of the experiment whose model is ours", default="three-way")
    against: str = option("row whose model ours is compared with", default="fairseq lstm")
    batch_size: int = option("sentences per batch", default=128, type=positive)
    int8: bool = option("ours with int8 weights", default=False)

    def __post_init__(self) -> None:
        if not (self.run / "data" / "data-bin").is_dir():
            raise UserError(
                f"--run {self.run}: no data/data-bin there; train it with python -m "
                "scripts.reproduce multi30k-en-de"
            )

    def checkpoint(self, row: str) -> Path:
        """Of a row of the experiment."""
        return self.run / row.replace(" ", "-") / "checkpoint_best.pt"


def measure(options: Generation) -> dict[str, Any]:
    """Our model with our search, and fairseq's with its own, as an experiment left them."""
    ours = ["--task", "tied_translation", *(["--int8"] if options.int8 else [])]
    architecture = registered_name(read_checkpoint(options.checkpoint(options.row))["cfg"]["model"])
    name = f"{architecture} {options.row}" + (", int8" if options.int8 else "")
    return compare(
        Side(name, partial(_rate, options, options.row, ours)),
        Side(options.against, partial(_rate, options, options.against, [])),
        options.runs,
    )


def _rate(options: Generation, row: str, more: list[str]) -> Measured:
    data = options.run / "data" / "data-bin"
    command = ["fairseq_cli.generate", str(data), "--user-dir", "tiednmt"]
    command += ["--path", str(options.checkpoint(row)), "--batch-size", str(options.batch_size)]
    command += ["--beam", "5", "--required-batch-size-multiple", "1", "--gen-subset", "test"]
    command += ["--quiet", *more, *([] if torch.cuda.is_available() else ["--cpu"])]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "generate.log"
        run_module(command, options.threads, log)
        rate = re.search(r"\(([\d.,]+) sentences/s", log.read_text(encoding="utf-8"))
    assert rate is not None  # fairseq-generate leaves its time nowhere else
    return Measured(float(rate[1].replace(",", "")))

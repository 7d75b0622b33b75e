"""Beam search beside fairseq's: ``fairseq-generate`` on a real test set."""

from __future__ import annotations

import argparse
import re
import tempfile
from functools import partial
from pathlib import Path

import torch

from scripts.lab.benchmarks.compare import Measured, Side, run_module

WHAT = "sentences a second by fairseq-generate, beam 5, test set"


def generation_sides(args: argparse.Namespace) -> tuple[Side, Side]:
    """Our tied model with our search, and fairseq's ``lstm`` with its own, as an experiment left
    them.
    """
    options = ["--task", "tied_translation", *(["--int8"] if args.int8 else [])]
    name = f"tied_gru {args.row}" + (", int8" if args.int8 else "")
    return (
        Side(name, partial(_speed, args, args.row, options)),
        Side("fairseq lstm", partial(_speed, args, "fairseq lstm", [])),
    )


def _speed(args: argparse.Namespace, row: str, options: list[str]) -> Measured:
    checkpoint = args.run / row.replace(" ", "-") / "checkpoint_best.pt"
    command = ["fairseq_cli.generate", str(args.run / "data" / "data-bin"), "--user-dir", "tiednmt"]
    command += ["--path", str(checkpoint), "--beam", "5", "--batch-size", str(args.batch_size)]
    command += ["--required-batch-size-multiple", "1", "--gen-subset", "test", "--quiet", *options]
    if not torch.cuda.is_available():
        command.append("--cpu")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "generate.log"
        run_module(command, args.threads, log)
        found = re.search(r"\(([\d.,]+) sentences/s", log.read_text(encoding="utf-8"))
    assert found is not None
    return Measured(float(found[1].replace(",", "")))

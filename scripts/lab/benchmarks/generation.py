"""Beam search against fairseq's, or CTranslate2's, on a real test set."""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary, data_utils
from fairseq.data.data_utils import infer_language_pair

from scripts.lab.baselines import ctranslate2
from scripts.lab.benchmarks.compare import Measured, Side, compare
from scripts.lab.benchmarks.measured_process import last_json, run_module
from scripts.lab.benchmarks.options import Paired
from scripts.lab.run.specs import folder_name
from scripts.lab.run.training import BEST
from tiednmt.checkpoints import read_checkpoint, registered_name
from tiednmt.errors import UserError
from tiednmt.files import write_whole
from tiednmt.options import option, positive

BEAM, BATCH = 5, 128
WHAT = f"sentences per second by the search alone, test set, beam {BEAM} where none is named"
CTRANSLATE2 = "ctranslate2"
PRECISIONS = {  # options of fairseq-generate, for our search and fairseq's
    "highest": ("--model-overrides", "{'float32_matmul_precision': 'highest'}"),
    "medium": ("--model-overrides", "{'float32_matmul_precision': 'medium'}"),
    "fp16": ("--fp16",),
}


@dataclass(frozen=True, kw_only=True)
class Generation(Paired):
    """Options of ``scripts.benchmark generate``.

    Raises:
        UserError: the folder is not that of a trained experiment, or the precision is not one
            that both sides can have.
    """

    run: Path = option("folder of a finished translation experiment", metavar="DIR")
    row: str = option("row of our model", default="three-way")
    against: str = option(
        "row to compare with; ctranslate2: our weights in that engine; ctranslate2 ROW: those of "
        "another row",
        default="fairseq lstm",
    )
    against_row: str | None = option(
        "instead of --against: row of our models to compare with, by our search", default=None
    )
    beam: int = option("hypotheses of our search", default=BEAM, type=positive)
    against_beam: int = option("hypotheses of the other side", default=BEAM, type=positive)
    batch_size: int = option("sentences per batch", default=BATCH, type=positive)
    int8: bool = option("use int8 weights, in ours and in CTranslate2", default=False)
    precision: str = option(
        "precision of both sides; medium: TF32 on a GPU, for models of this package",
        choices=tuple(PRECISIONS),
        default="highest",
    )
    ctranslate2_python: str = option(
        "Python interpreter with CTranslate2 and this package",
        metavar="PATH",
        default=sys.executable,
        recorded=False,
    )

    def __post_init__(self) -> None:
        if not (self.run / "data" / "data-bin").is_dir():
            raise UserError(
                f"--run {self.run}: no data/data-bin there; train a translation experiment "
                "with python -m scripts.reproduce"
            )
        if self.precision != "highest" and (self.int8 or self.row_for_ctranslate2):
            raise UserError(
                f"--precision {self.precision} is for our search and fairseq's, without --int8"
            )

    @property
    def row_for_ctranslate2(self) -> str | None:
        """The row whose weights CTranslate2 takes; None if it is not the other side."""
        engine, _, row = self.against.partition(" ")
        return (row or self.row) if engine == CTRANSLATE2 and not self.against_row else None

    def checkpoint(self, row: str) -> Path:
        """The checkpoint of a row of the experiment: the newest mean of its last ones, if any."""
        folder = self.run / folder_name(row)
        means = folder.glob("mean_of_last_*.pt")
        return max(means, key=lambda path: path.stat().st_mtime, default=folder / BEST)


def measure(options: Generation) -> dict[str, Any]:
    """Our model with our search, and another with its own, as an experiment left them."""
    with tempfile.TemporaryDirectory() as folder:
        if options.against_row:
            other = _ours(options, options.against_row, options.against_beam)
        elif options.row_for_ctranslate2:
            other = _ctranslate2(options, options.row_for_ctranslate2, Path(folder))
        else:
            other = _by_fairseqs_search(options)
        return compare(_ours(options, options.row, options.beam), other, options.runs)


def _ours(options: Generation, row: str, beam: int) -> Side:
    architecture = registered_name(read_checkpoint(options.checkpoint(row))["cfg"]["model"])
    weights = ", int8" if options.int8 else ""
    name = f"{architecture} {row}{weights}{_precision(options)}{_searched(options, beam)}"
    given = ["--task", "tied_translation", *(["--int8"] if options.int8 else [])]
    return Side(name, partial(_rate, options, row, beam, given))


def _by_fairseqs_search(options: Generation) -> Side:
    same = ", fairseq's search" if options.against == options.row else ""
    name = f"{options.against}{same}{_precision(options)}{_searched(options, options.against_beam)}"
    return Side(name, partial(_rate, options, options.against, options.against_beam, []))


def _precision(options: Generation) -> str:
    return "" if options.precision == "highest" else f", {options.precision}"


def _searched(options: Generation, beam: int) -> str:
    width = "" if beam == BEAM else f", beam {beam}"
    if options.batch_size == BATCH:
        return width
    return f"{width}, {options.batch_size} sentence{'s'[: options.batch_size > 1]} at a time"


def _ctranslate2(options: Generation, row: str, folder: Path) -> Side:
    """CTranslate2 on the weights of a row and the sentences of the same subset."""
    version = ctranslate2.version(options.ctranslate2_python)
    data_bin = options.run / "data" / "data-bin"
    source, target = infer_language_pair(str(data_bin))
    dictionary = Dictionary.load(str(data_bin / f"dict.{source}.txt"))
    prefix = data_bin / f"test.{source}-{target}.{source}"
    sentences = data_utils.load_indexed_dataset(str(prefix), dictionary)
    with write_whole(folder / "text") as file:
        file.writelines(dictionary.string(tokens) + "\n" for tokens in sentences)
    command = [ctranslate2.MODULE, str(options.checkpoint(row)), "--data", str(data_bin)]
    command += ["--folder", str(folder), *(["--int8"] if options.int8 else [])]
    log = folder / "convert.log"
    run_module(command, options.threads, log, python=options.ctranslate2_python)
    whose = "the same weights" if row == options.row else row
    weights = ", int8" if options.int8 else ""
    name = f"CTranslate2 {version}, {whose}{weights}{_searched(options, options.against_beam)}"
    return Side(name, partial(_ctranslate2_rate, options, folder))


def _ctranslate2_rate(options: Generation, folder: Path) -> Measured:
    command = [ctranslate2.MODULE, "--folder", str(folder), "--text", str(folder / "text")]
    command += ["--beam", str(options.against_beam), "--batch-size", str(options.batch_size)]
    command += ["--threads", str(options.threads)]
    log = folder / "translate.log"
    run_module(command, options.threads, log, python=options.ctranslate2_python)
    return Measured(last_json(log)["sentences_per_second"])


def _rate(options: Generation, row: str, beam: int, more: list[str]) -> Measured:
    data = options.run / "data" / "data-bin"
    command = ["fairseq_cli.generate", str(data), "--user-dir", "tiednmt"]
    command += ["--path", str(options.checkpoint(row)), "--batch-size", str(options.batch_size)]
    command += ["--beam", str(beam), "--required-batch-size-multiple", "1"]
    command += ["--gen-subset", "test", "--quiet", *more, *PRECISIONS[options.precision]]
    command += [] if torch.cuda.is_available() else ["--cpu"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "generate.log"
        run_module(command, options.threads, log)
        rate = re.search(r"\(([\d.,]+) sentences/s", log.read_text(encoding="utf-8"))
    assert rate is not None  # fairseq-generate leaves its time nowhere else
    return Measured(float(rate[1].replace(",", "")))

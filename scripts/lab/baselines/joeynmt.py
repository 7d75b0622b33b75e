"""JoeyNMT's training command on the text of a prepared folder."""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from fairseq.data.data_utils import infer_language_pair

from scripts.lab.benchmarks.compare import Measured, Side, run_module
from tiednmt.errors import UserError

_VERSION = "from importlib.metadata import version; import joeynmt; print(version('joeynmt'))"


def side(args: argparse.Namespace) -> Side:
    """Its recurrent model with all embeddings tied, of the sizes of Multi30k's recipe.

    Raises:
        UserError: JoeyNMT or the folder's text is missing.
    """
    version = _version(args.joeynmt_python)
    text = args.data.resolve() / "bpe"
    if not text.is_dir():
        raise UserError(f"--data {args.data}: no bpe there, the text that JoeyNMT reads")
    return Side(f"JoeyNMT {version}, tied_embeddings, tied_softmax", partial(_speed, text, args))


def _version(python: str) -> str:
    try:
        command = [python, "-c", _VERSION]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"--against joeynmt: {python} cannot import joeynmt; install it there, or name another "
            "interpreter with --joeynmt-python"
        ) from error
    return done.stdout.split()[-1]


def _speed(text: Path, args: argparse.Namespace) -> Measured:
    """Target tokens a second after the first tenth of the updates, and memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configuration = write_inputs(text, folder, args.max_tokens, args.updates)
        command = ["joeynmt", "train", str(configuration), "--skip-test"]
        log = folder / "train.log"
        memory = run_module(command, args.threads, log, python=args.joeynmt_python)
        speeds = speeds_in(log.read_text(encoding="utf-8"))[1:]
    if not speeds:
        raise UserError(f"--updates {args.updates}: too few to measure; ask for 20 or more")
    return Measured(statistics.harmonic_mean(speeds), memory)


def speeds_in(log: str) -> list[float]:
    """Target tokens a second of each interval of equally many updates that JoeyNMT logged."""
    return [float(found) for found in re.findall(r"Tokens per Sec:\s*([\d.]+)", log)]


def write_inputs(text: Path, folder: Path, max_tokens: int, updates: int) -> Path:
    """The vocabulary and the configuration of a training, whose path is returned.

    Args:
        text: folder of ``train`` and ``valid`` in both languages, in subword units; data-bin
            beside it tells which is the source.
        folder: where both are written and the model goes.
        max_tokens: of a batch, padding included.
        updates: of the training.
    """
    # the dictionary of either language is the joint one
    lines = next((text.parent / "data-bin").glob("dict.*.txt")).read_text("utf-8").splitlines()
    types = "".join(line.rpartition(" ")[0] + "\n" for line in lines)
    (folder / "vocabulary").write_text(types, encoding="utf-8")
    path = folder / "joeynmt.yaml"
    content = yaml.safe_dump(_configuration(text, folder, max_tokens, updates))
    path.write_text(content, encoding="utf-8")
    return path


def _configuration(text: Path, folder: Path, max_tokens: int, updates: int) -> dict[str, Any]:
    """What it does not say is left as JoeyNMT has it."""
    source, target = infer_language_pair(text.parent / "data-bin")
    language = {
        "level": "word",  # the text is in subword units already
        "lowercase": False,
        "max_length": -1,
        "voc_file": str(folder / "vocabulary"),
    }
    rnn = {
        "rnn_type": "lstm",
        "embeddings": {"embedding_dim": 256, "dropout": 0.4},
        "num_layers": 1,
        "dropout": 0.4,
    }
    log_interval = max(1, updates // 10)
    return {
        "name": "benchmark",
        "model_dir": str(folder / "model"),
        "use_cuda": torch.cuda.is_available(),
        "data": {
            "train": str(text / "train"),
            "dev": str(text / "valid"),
            "dataset_type": "plain",
            "src": {"lang": source, **language},
            "trg": {"lang": target, **language},
        },
        "model": {
            "tied_embeddings": True,
            "tied_softmax": True,
            "encoder": {**rnn, "hidden_size": 128, "bidirectional": True},
            "decoder": {**rnn, "hidden_size": 256, "hidden_dropout": 0.4, "attention": "luong"},
        },
        "training": {
            "optimizer": "adam",
            "adam_betas": [0.9, 0.98],
            "learning_rate": 0.002,
            "scheduling": "exponential",
            "label_smoothing": 0.1,
            "normalization": "tokens",
            "clip_grad_norm": 1.0,
            "batch_type": "token",
            "batch_size": max_tokens,
            "epochs": updates,
            "updates": updates,
            "logging_freq": log_interval,
            "validation_freq": log_interval * 10**6,
        },
        "testing": {},
    }

"""JoeyNMT's training command on the text of a prepared folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
import yaml
from fairseq.data.data_utils import infer_language_pair

from scripts.lab.baselines.interpreters import version_in
from scripts.lab.baselines.stock import Sizes
from tiednmt.errors import UserError
from tiednmt.text.lines import read_lines
from tiednmt.text.manifest import SEGMENTED


def version(python: str) -> str:
    """The version of JoeyNMT that the interpreter ``python`` has.

    Raises:
        UserError: none.
    """
    hint = "install it there, or name another interpreter with --joeynmt-python"
    return version_in(python, "joeynmt", hint)


def text_of(data: Path) -> Path:
    """The folder of the text in subword units, which JoeyNMT reads, of a prepared folder.

    Raises:
        UserError: it is missing.
    """
    text = data.resolve() / SEGMENTED
    if not text.is_dir():
        raise UserError(f"--data {data}: no bpe there, the text that JoeyNMT reads")
    return text


def rates_in(log: str) -> list[float]:
    """Target tokens per second of each interval of equally many updates that JoeyNMT logged."""
    return [float(rate) for rate in re.findall(r"Tokens per Sec:\s*([\d.]+)", log)]


def write_inputs(
    text: Path,
    folder: Path,
    sizes: Sizes,
    max_tokens: int,
    updates: int,
    is_transformer: bool = False,
) -> Path:
    """Write the vocabulary and the configuration of a training of JoeyNMT's.

    It trains JoeyNMT's Transformer, or its recurrent model, with all embeddings tied.

    Args:
        text: folder of ``train`` and ``valid`` in both languages, in subword units; the data-bin
            next to it tells which one is the source.
        folder: where both files are written, and later the model.
        sizes: of the model.
        max_tokens: of a batch, padding included.
        updates: of the training.
        is_transformer: train the Transformer, not the recurrent model.

    Returns:
        The path of the configuration.
    """
    # the dictionary of either language is the joint one
    lines = read_lines(next((text.parent / "data-bin").glob("dict.*.txt")))
    entries = "".join(line.rpartition(" ")[0] + "\n" for line in lines)
    (folder / "vocabulary").write_text(entries, encoding="utf-8")
    path = folder / "joeynmt.yaml"
    model = _transformer(sizes) if is_transformer else _recurrent(sizes)
    content = yaml.safe_dump(_configuration(text, folder, model, max_tokens, updates))
    path.write_text(content, encoding="utf-8")
    return path


def _recurrent(sizes: Sizes) -> dict[str, Any]:
    """JoeyNMT's encoder and decoder of LSTMs."""
    rnn = {
        "rnn_type": "lstm",
        "embeddings": {"embedding_dim": sizes.embed_dim, "dropout": sizes.dropout},
        "dropout": sizes.dropout,
    }
    encoder = {
        **rnn,
        "num_layers": sizes.layers,
        "hidden_size": sizes.encoder_hidden_size,
        "bidirectional": sizes.bidirectional,
    }
    decoder = {
        **rnn,
        "num_layers": sizes.decoder_layers,
        "hidden_size": sizes.decoder_hidden_size,
        "hidden_dropout": sizes.dropout,
        "attention": "luong",
    }
    return {"encoder": encoder, "decoder": decoder}


def _transformer(sizes: Sizes) -> dict[str, Any]:
    """JoeyNMT's encoder and decoder of Transformer layers, normalised behind each sum."""
    side = {
        "type": "transformer",
        "num_heads": sizes.heads,
        "embeddings": {"embedding_dim": sizes.embed_dim, "scale": True, "dropout": sizes.dropout},
        "hidden_size": sizes.embed_dim,
        "ff_size": sizes.ffn_dim,
        "dropout": sizes.dropout,
        "layer_norm": "post",
    }
    layers = {"encoder": sizes.layers, "decoder": sizes.decoder_layers}
    return {name: {**side, "num_layers": count} for name, count in layers.items()}


def _configuration(
    text: Path, folder: Path, model: dict[str, Any], max_tokens: int, updates: int
) -> dict[str, Any]:
    """The configuration of a training; what it leaves out has JoeyNMT's default."""
    source, target = infer_language_pair(text.parent / "data-bin")
    language = {
        "level": "word",  # the text is in subword units already
        "lowercase": False,
        "max_length": -1,
        "voc_file": str(folder / "vocabulary"),
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
        "model": {"tied_embeddings": True, "tied_softmax": True, **model},
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

"""Training beside what one would train instead: fairseq's own models, or a bare loop."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
import yaml

from scripts.benchmarks.sides import Measured, Side, run_module
from scripts.recipes import ROOT, Recipe, fairseq_train_arguments, load_experiment, merge
from scripts.training import log_entries
from tiednmt.errors import UserError

PRECISIONS = ("highest", "medium", "bf16")
WHAT = "tokens predicted a second by fairseq-train, updates 10 % to 100 %"


def translation_sides(args: argparse.Namespace) -> tuple[Side, Side]:
    """The tied model and fairseq's ``lstm`` or ``transformer``, equal in sizes."""
    rows = load_experiment("multi30k-en-de").rows
    batches: Recipe = {"dataset": {"max_tokens": args.max_tokens}}
    ours = merge(merge(rows["three-way"], {"model": {"tying": args.tying}}), batches)
    stock = merge(rows["fairseq lstm"], batches)
    if args.against == "transformer":
        stock = {**stock, "model": STOCK_TRANSFORMER}
    return (
        Side(
            f"tied_gru --tying {args.tying}, {args.precision}",
            partial(fairseq_speed, in_precision(ours, args.precision), args),
        ),
        Side(f"fairseq {args.against} --share-all-embeddings", partial(fairseq_speed, stock, args)),
    )


STOCK_TRANSFORMER = {
    "_name": "transformer",
    "share_all_embeddings": True,
    "encoder_embed_dim": 256,
    "encoder_ffn_embed_dim": 512,
    "encoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_embed_dim": 256,
    "decoder_ffn_embed_dim": 512,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "dropout": 0.4,
}


def language_model_sides(args: argparse.Namespace) -> tuple[Side, Side]:
    """A row of the paper's table and the same model in a bare loop or as fairseq's ``lstm_lm``."""
    row = load_experiment(f"ptb-{args.size}").rows["none"]
    if args.against == "loop":
        other = Side("PyTorch loop", partial(loop_speed, args))
    else:
        other = Side("fairseq lstm_lm", partial(fairseq_speed, _stock_lstm_lm(row), args))
    ours = in_precision(row, args.precision)
    name = f"tied_lstm_lm_{args.size}, {args.precision}"
    return Side(name, partial(fairseq_speed, ours, args)), other


def _stock_lstm_lm(recipe: Recipe) -> Recipe:
    """fairseq's LSTM language model of the same sizes, on its own task."""
    model = recipe["model"]
    return {
        **recipe,
        "task": {**recipe["task"], "_name": "language_modeling"},
        "model": {
            "_name": "lstm_lm",
            "decoder_embed_dim": model["embed_dim"],
            "decoder_hidden_size": model["hidden_size"],
            "decoder_out_embed_dim": model["embed_dim"],
            "decoder_layers": model["layers"],
            "dropout": model["dropout"],
        },
        "criterion": {"_name": "cross_entropy"},
    }


def in_precision(recipe: Recipe, precision: str) -> Recipe:
    """``recipe`` in bfloat16, or in single precision with this precision of products."""
    if precision == "bf16":
        return merge(recipe, {"common": {"bf16": True}})
    return merge(recipe, {"model": {"float32_matmul_precision": precision}})


def fairseq_speed(recipe: Recipe, args: argparse.Namespace) -> Measured:
    """Tokens a second of training, after its first tenth of the updates."""
    recipe = merge(
        recipe,
        {
            "common": {"log_interval": max(1, args.updates // 10)},
            "optimization": {"max_update": args.updates},
            "checkpoint": {"no_save": True},
            "dataset": {"disable_validation": True},
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "train.log"
        data = args.data.resolve() / "data-bin"
        if not torch.cuda.is_available():
            recipe = merge(recipe, {"common": {"cpu": True}})
        if recipe["common"].get("bf16"):
            command = _through_hydra(recipe, data, Path(folder))
        else:
            command = ["fairseq_cli.train", str(data), *fairseq_train_arguments(recipe)]
            command += ["--save-dir", folder]
        run_module(command, args.threads, log)
        entries = list(log_entries(log, "train_inner"))[1:]
    if not entries:
        raise UserError(f"--updates {args.updates}: too few to measure; ask for 20 or more")
    seconds = sum(float(e["wpb"]) / float(e["wps"]) for e in entries)
    return Measured(sum(float(e["wpb"]) for e in entries) / seconds)


def _through_hydra(recipe: Recipe, data: Path, folder: Path) -> Sequence[str]:
    """``fairseq-hydra-train``, since --bf16 of ``fairseq-train`` means a TPU."""
    recipe = merge(
        recipe,
        {
            "common": {"user_dir": str(ROOT / "tiednmt")},
            "task": {"data": str(data)},
            "checkpoint": {"save_dir": str(folder)},
        },
    )
    text = "# @package _global_\n" + yaml.safe_dump(recipe)
    (folder / "benchmark.yaml").write_text(text, encoding="utf-8")
    command = ["fairseq_cli.hydra_train", "--config-dir", str(folder)]
    return [*command, "--config-name", "benchmark", f"hydra.run.dir={folder}/hydra"]


def loop_speed(args: argparse.Namespace) -> Measured:
    """Tokens a second of the same model in a bare loop, after its first tenth of the updates."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "loop.log"
        command = ["scripts.plain_language_model", "--data", str(args.data), "--size", args.size]
        run_module([*command, "--updates", str(args.updates)], args.threads, log)
        printed = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
        return Measured(printed["tokens_per_second"])

"""Training beside what one would train instead: fairseq's own models, or a bare loop."""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch
import yaml

from scripts.lab.baselines import joeynmt
from scripts.lab.benchmarks.compare import (
    Measured,
    Side,
    last_json,
    printed_by_module,
    run_module,
)
from scripts.lab.run.specs import ROOT, Recipe, fairseq_train_arguments, load_experiment, merge
from scripts.lab.run.training import log_entries
from tiednmt.errors import UserError
from tiednmt.tying import TYINGS

PRECISIONS = ("highest", "medium", "bf16")
WHAT = "tokens predicted a second by the training command, updates 10 % to 100 %"


def add_models(parser: argparse.ArgumentParser, *more: str) -> None:
    """Which translation models are compared; ``more`` that ours can be compared with."""
    parser.add_argument("--tying", choices=TYINGS, default="three-way")
    parser.add_argument("--against", choices=("lstm", "transformer", *more), default="lstm")
    add_precision(parser)


def add_precision(parser: argparse.ArgumentParser) -> None:
    """In what precision ours trains."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="highest",
        help="ours: --float32-matmul-precision, or bfloat16 (default: %(default)s)",
    )


def translation_sides(args: argparse.Namespace) -> tuple[Side, Side]:
    """The tied model, and fairseq's ``lstm`` or ``transformer`` or JoeyNMT's, equal in sizes."""
    ours = Side(our_name(args), partial(fairseq_speed, our_translation(args), args))
    if args.against == "joeynmt":
        return ours, joeynmt.side(args)
    stock = partial(fairseq_speed, stock_translation(args), args)
    return ours, Side(f"fairseq {args.against} --share-all-embeddings", stock)


def our_name(args: argparse.Namespace) -> str:
    """What tables call the model of :func:`our_translation`."""
    return f"tied_gru --tying {args.tying}, {args.precision}"


def our_translation(args: argparse.Namespace) -> Recipe:
    """Multi30k's recipe with the batches, tying and precision asked for."""
    row = load_experiment("multi30k-en-de").rows["three-way"]
    asked: Recipe = {"model": {"tying": args.tying}, "dataset": {"max_tokens": args.max_tokens}}
    return in_precision(merge(row, asked), args.precision)


def stock_translation(args: argparse.Namespace) -> Recipe:
    """fairseq's own model in the same recipe, without the plugin."""
    row = load_experiment("multi30k-en-de").rows["fairseq lstm"]
    stock = merge(row, {"common": NO_PLUGIN, "dataset": {"max_tokens": args.max_tokens}})
    if args.against == "transformer":
        stock = {**stock, "model": STOCK_TRANSFORMER}
    return stock


NO_PLUGIN = {"user_dir": False}
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
        **merge(recipe, {"common": NO_PLUGIN}),
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
    """Tokens a second of training, after its first tenth of the updates, and memory.

    With ``args.profile`` the ``parts`` of an update too.
    """
    log_interval = max(1, args.updates // 10)
    recipe = merge(
        recipe,
        {
            "common": {"log_interval": log_interval},
            "optimization": {"max_update": args.updates},
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "train.log"
        command = fairseq_command(recipe, args.data, Path(folder))
        if args.profile:
            command = ["scripts.lab.benchmarks.profile", str(log_interval), *command]
        memory = run_module(command, args.threads, log)
        entries = list(log_entries(log, "train_inner"))[1:]
        parts = last_json(log) if args.profile else None
    if not entries:
        raise UserError(f"--updates {args.updates}: too few to measure; ask for 20 or more")
    seconds = sum(float(e["wpb"]) / float(e["wps"]) for e in entries)
    return Measured(sum(float(e["wpb"]) for e in entries) / seconds, memory, parts)


def fairseq_command(recipe: Recipe, data: Path, folder: Path) -> list[str]:
    """The module that trains by ``recipe`` and its arguments; nothing is validated or saved.

    Args:
        recipe: what is trained, and for how long.
        data: a prepared folder.
        folder: for what hydra wants to write.
    """
    recipe = merge(
        recipe,
        {
            "common": {} if torch.cuda.is_available() else {"cpu": True},
            "checkpoint": {"no_save": True},
            "dataset": {"disable_validation": True},
        },
    )
    data = data.resolve() / "data-bin"
    if recipe["common"].get("bf16"):
        return _through_hydra(recipe, data, folder)
    arguments = fairseq_train_arguments(recipe)
    return ["fairseq_cli.train", str(data), *arguments, "--save-dir", str(folder)]


def _through_hydra(recipe: Recipe, data: Path, folder: Path) -> list[str]:
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
    command = [
        "scripts.lab.baselines.plain_language_model",
        "--data",
        str(args.data),
        "--size",
        args.size,
    ]
    printed = printed_by_module([*command, "--updates", str(args.updates)], args.threads)
    return Measured(printed["tokens_per_second"])

"""Training against the alternatives: fairseq's own models, JoeyNMT, a bare loop."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from scripts.lab.baselines import joeynmt, stock
from scripts.lab.baselines.plain_language_model import Variant
from scripts.lab.benchmarks.compare import Measured, Side, compare
from scripts.lab.benchmarks.measured_process import last_json, printed_by_module, run_module
from scripts.lab.benchmarks.options import (
    OurModel,
    Training,
    TranslationModels,
    in_batches,
)
from scripts.lab.benchmarks.roofline import share_of_limit
from scripts.lab.run.specs import ROOT, Recipe, fairseq_train_arguments, merge
from scripts.lab.run.training import log_entries
from tiednmt.errors import UserError
from tiednmt.options import option, positive

WHAT = "tokens predicted per second by the training command, updates 10% to 100%"
JOEYNMT, TORCH = "joeynmt", "torch"


@dataclass(frozen=True, kw_only=True)
class Translation(TranslationModels, Training):
    """Options of ``scripts.benchmark train``."""

    against: str = option(
        "what to compare with, in our sizes: a model of fairseq, JoeyNMT's counterpart, or "
        "torch's nn.Transformer in a bare loop",
        choices=(*stock.TRANSLATION, JOEYNMT, TORCH),
        default="lstm",
    )
    max_tokens: int = option("tokens per batch", default=1000, type=positive)
    joeynmt_python: str = option(
        "Python interpreter with JoeyNMT", metavar="PATH", default=sys.executable, recorded=False
    )


@dataclass(frozen=True, kw_only=True)
class LanguageModel(OurModel, Training):
    """Options of ``scripts.benchmark language-model``."""

    size: str = option(
        "size of the model of Zaremba et al. (2014)", choices=("small", "large"), default="small"
    )
    experiment: str | None = option(
        "experiment whose recipe both sides use (default: ptb-SIZE)", default=None
    )
    row: str = option("row of our model", default="none")
    against: str = option(
        "a bare PyTorch loop, or a model of fairseq", choices=("loop", "lstm_lm"), default="loop"
    )

    def _experiment(self) -> str:
        return self.experiment or f"ptb-{self.size}"


def measure_translation(options: Translation) -> dict[str, Any]:
    """Both sides, and how much of what the machine allows ours came to."""
    recipe = in_batches(options.recipe_in_precision(), options.max_tokens)
    ours = Side(options.name, partial(fairseq_rate, recipe, options))
    record = compare(ours, _other_translation(options), options.runs)
    return {**record, "limit": share_of_limit(options, record["ours"]["median"])}


def _other_translation(options: Translation) -> Side:
    """fairseq's model, JoeyNMT's or torch's, equal in sizes, every embedding tied."""
    if options.against == JOEYNMT:
        version = joeynmt.version(options.joeynmt_python)
        text = joeynmt.text_of(options.data)
        run = partial(_joeynmt_rate, text, options)
        return Side(f"JoeyNMT {version}, tied_embeddings, tied_softmax", run)
    if options.against == TORCH:
        return Side("nn.Transformer in a bare loop, tied", partial(_torch_rate, options))
    recipe = in_batches(options.stock_recipe(), options.max_tokens)
    return Side(options.stock_name, partial(fairseq_rate, recipe, options))


def measure_language_model(options: LanguageModel) -> dict[str, Any]:
    """A row of the paper's table and the same model in a bare loop or as fairseq's ``lstm_lm``."""
    if options.against == "loop":
        variant = loop_variant(options.recipe())
        name = "PyTorch loop, tied" if variant.tied else "PyTorch loop"
        other = Side(name, partial(_loop_rate, variant, options))
    else:
        recipe = stock.lstm_lm(options.recipe())
        tied = "share_decoder_input_output_embed" in recipe["model"]
        name = f"fairseq lstm_lm{' --share-decoder-input-output-embed' if tied else ''}"
        other = Side(name, partial(fairseq_rate, recipe, options))
    ours = partial(fairseq_rate, options.recipe_in_precision(), options)
    return compare(Side(options.name, ours), other, options.runs)


def fairseq_rate(recipe: Recipe, options: Training) -> Measured:
    """Tokens per second of training, after the first tenth of the updates, and memory.

    With ``options.profile`` the ``parts`` of an update too.

    Raises:
        UserError: the run failed, or is too short to measure.
    """
    log_interval = max(1, options.updates // 10)
    recipe = merge(
        recipe,
        {
            "common": {"log_interval": log_interval},
            "optimization": {"max_update": options.updates},
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "train.log"
        command = fairseq_command(recipe, options.data, Path(folder))
        if options.profile:
            command = ["scripts.lab.benchmarks.profile", str(log_interval), *command]
        memory = run_module(command, options.threads, log)
        entries = list(log_entries(log, "train_inner"))[1:]
        parts = last_json(log) if options.profile else None
    if not entries:
        raise _too_short(options.updates)
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


def _joeynmt_rate(text: Path, options: Translation) -> Measured:
    """Target tokens per second after the first tenth of the updates, and memory."""
    sizes = stock.Sizes.of(options.recipe())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configuration = joeynmt.write_inputs(
            text,
            folder,
            sizes,
            options.max_tokens,
            options.updates,
            is_transformer="encoder_attention_heads" in stock.config_of(options.recipe()),
        )
        command = ["joeynmt", "train", str(configuration), "--skip-test"]
        log = folder / "train.log"
        memory = run_module(command, options.threads, log, python=options.joeynmt_python)
        rates = joeynmt.rates_in(log.read_text(encoding="utf-8"))[1:]
    if not rates:
        raise _too_short(options.updates)
    return Measured(statistics.harmonic_mean(rates), memory)


def _torch_rate(options: Translation) -> Measured:
    """Target tokens per second of torch's Transformer after a tenth of the updates, and memory."""
    sizes = stock.Sizes.of(options.recipe())
    given = {
        "data": options.data,
        "updates": options.updates,
        "max-tokens": options.max_tokens,
        "embed-dim": sizes.embed_dim,
        "layers": sizes.layers,
        "decoder-layers": sizes.decoder_layers,
        "ffn-dim": sizes.ffn_dim,
        "heads": sizes.heads,
        "dropout": sizes.dropout,
    }
    command = ["scripts.lab.baselines.plain_transformer"]
    command += [word for name, value in given.items() for word in (f"--{name}", str(value))]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "train.log"
        memory = run_module(command, options.threads, log)
        return Measured(last_json(log)["tokens_per_second"], memory)


def loop_variant(recipe: Recipe) -> Variant:
    """Our language model in ``recipe`` and its updates, as the bare loop has them.

    Raises:
        UserError: the loop lacks what our model has.
    """
    config = stock.plain_lstm(recipe)
    if config.embed_dim != config.hidden_size:
        raise UserError(
            f"--embed-dim {config.embed_dim}, --hidden-size {config.hidden_size}: the loop has one "
            "size for both; use --against lstm_lm"
        )
    limits = recipe["optimization"]
    return Variant(
        tied=config.tying == "decoder",
        learning_rate=limits["lr"][0],
        streams=recipe["dataset"]["batch_size"],
        steps=recipe["task"]["tokens_per_sample"],
        clip=limits["clip_norm"],
        size=config.hidden_size,
        layers=config.layers,
        dropout=config.dropout,
        init_range=config.init_range,
    )


def _loop_rate(variant: Variant, options: LanguageModel) -> Measured:
    """Tokens per second of ``variant`` in a bare loop, after a tenth of the updates."""
    command = ["scripts.lab.baselines.plain_language_model", "--data", str(options.data)]
    command += ["--variant", json.dumps(asdict(variant)), "--updates", str(options.updates)]
    return Measured(printed_by_module(command, options.threads)["tokens_per_second"])


def _too_short(updates: int) -> UserError:
    return UserError(f"--updates {updates}: too few to measure; ask for 20 or more")

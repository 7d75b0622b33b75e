"""Refuse at once, in one line, what would end in a traceback of fairseq's later."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.data.encoders import TOKENIZER_REGISTRY
from fairseq.dataclass import utils as dataclass_utils
from fairseq.dataclass.configs import GenerationConfig
from fairseq.distributed import utils as distributed_utils
from fairseq.models import ARCH_MODEL_REGISTRY, FairseqLanguageModel
from fairseq.sequence_generator import SequenceGenerator
from fairseq.tasks import TASK_REGISTRY
from fairseq.tasks.multilingual_translation import MultilingualTranslationTask
from fairseq.trainer import Trainer
from fairseq.utils import split_paths
from fairseq_cli import eval_lm as fairseq_eval_lm
from fairseq_cli import generate as fairseq_generate
from fairseq_cli import interactive as fairseq_interactive
from omegaconf import OmegaConf

from tiednmt.checkpoints import registered_name
from tiednmt.errors import UserError
from tiednmt.literals import value_of
from tiednmt.models.tied_model import TiedModel
from tiednmt.options import Range, option_name, positive
from tiednmt.patches.patch import command_of, patch


def refuse_texts_for_numbers() -> None:
    """Let argparse name the option that was given text where fairseq needs numbers."""

    def eval_str_list(read: Callable[..., Any], text: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return read(text, *args, **kwargs)
        except (SyntaxError, OverflowError, RecursionError, MemoryError) as error:
            raise ValueError(str(error)) from None  # which argparse expects

    patch(dataclass_utils, "eval_str_list", eval_str_list)
    logging.getLogger(dataclass_utils.__name__).addFilter(_is_short)


def _is_short(record: logging.LogRecord) -> bool:
    """Not fairseq's list of all options, before the line about the one at fault."""
    return not record.getMessage().startswith("Error when composing")


def refuse_untrainable_options() -> None:
    """Refuse options that no training works with."""

    def start_trainer(
        start: Callable[..., None], self: Trainer, cfg: Any, *args: Any, **kwargs: Any
    ) -> None:
        _require_trainable(cfg)
        start(self, cfg, *args, **kwargs)

    patch(Trainer, "__init__", start_trainer)


def refuse_options_of_commands() -> None:
    """Refuse options that end in a traceback of fairseq's, or that a command does not read."""

    def call_main(call: Callable[..., Any], cfg: Any, main: Any, **kwargs: Any) -> Any:
        command = command_of(main)
        _require_usable(cfg, command)
        _require_effect(cfg, command)
        _require_detokeniser(cfg)
        _require_packages(cfg)
        _require_same_dictionaries(cfg)
        _require_one_model(cfg)
        _require_whole_models(cfg)
        return call(cfg, main, **kwargs)

    def generate(run: Callable[..., Any], cfg: Any, *args: Any) -> Any:  # without call_main
        _require_usable(cfg, fairseq_generate.__name__)
        return run(cfg, *args)

    patch(distributed_utils, "call_main", call_main)
    patch(fairseq_generate, "_main", generate)


def refuse_other_language_models() -> None:
    """Refuse a language model, in the search of a translation, that has other units."""

    def start_generator(
        start: Callable[..., None],
        self: SequenceGenerator,
        models: Any,
        tgt_dict: Dictionary,
        *args: Any,
        lm_model: Any = None,
        **kwargs: Any,
    ) -> None:
        if lm_model is not None:
            _require_language_model_of(tgt_dict, lm_model)
        start(self, models, tgt_dict, *args, lm_model=lm_model, **kwargs)

    patch(SequenceGenerator, "__init__", start_generator)


_OF_TORCHRUN = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")  # by all, fairseq knows it


def refuse_torchrun_on_cpus() -> None:
    """Refuse workers that torchrun starts without a GPU."""

    def infer_init_method(infer: Callable[..., Any], cfg: Any, *args: Any, **kwargs: Any) -> Any:
        given = [os.environ.get(name) for name in _OF_TORCHRUN]
        if None not in given and given[0] != "1" and not torch.cuda.is_available():
            raise UserError(
                "torchrun without a GPU: start a process for each worker instead, with"
                " --distributed-world-size, --distributed-init-method tcp://HOST:PORT,"
                " --distributed-rank, --distributed-no-spawn, --distributed-backend gloo and"
                " --ddp-backend legacy_ddp"
            )
        return infer(cfg, *args, **kwargs)

    patch(distributed_utils, "infer_init_method", infer_init_method)


def _require_usable(cfg: Any, command: str | None) -> None:
    _require_numbers(cfg)
    _require_literals(cfg)
    _require_searchable(cfg, command)


def _require_trainable(cfg: Any) -> None:
    _require_numbers(cfg)
    _require_alignments_of_the_model(cfg)
    checkpoint = cfg.checkpoint
    if checkpoint.best_checkpoint_metric == "bleu" and not (
        checkpoint.maximize_best_checkpoint_metric
    ):
        raise UserError(
            "--best-checkpoint-metric bleu: keeps the checkpoint with the lowest BLEU; add"
            " --maximize-best-checkpoint-metric"
        )
    if any(updates < 1 for updates in cfg.optimization.update_freq):
        raise UserError("--update-freq: batches per update, each number 1 or more")
    _require_optimizer(cfg)
    _require_precision(cfg.common)


def _require_optimizer(cfg: Any) -> None:
    """Refuse an optimizer or a schedule that lacks what it needs."""
    optimizer = _options(cfg.get("optimizer"))
    if optimizer.get("_name") == "composite" and not optimizer.get("groups"):
        raise UserError(
            "--optimizer composite: fairseq-train has no option for its groups, which only a"
            " configuration of fairseq-hydra-train has; use another optimizer"
        )
    schedule = _options(cfg.get("lr_scheduler")).get("_name")
    if optimizer.get("_name") == "tied_averaged_sgd" and schedule != "tied_non_monotonic":
        raise UserError(
            f"--optimizer tied_averaged_sgd: --lr-scheduler {schedule} never tells it to average;"
            " use tied_non_monotonic, or --optimizer sgd"
        )
    if schedule == "tied_non_monotonic" and cfg.dataset.disable_validation:
        raise UserError(
            "--disable-validation: --lr-scheduler tied_non_monotonic averages once validation stops"
            " improving; leave the option out"
        )
    if schedule == "reduce_lr_on_plateau" and cfg.dataset.disable_validation:
        raise UserError(
            "--disable-validation: --lr-scheduler reduce_lr_on_plateau lowers the rate once"
            " validation stops improving; leave the option out, or choose another scheduler"
        )


def _require_precision(common: Any) -> None:
    """Refuse half precision where it needs another device or package."""
    has_gpu = torch.cuda.is_available() and not common.cpu
    if common.tpu and importlib.util.find_spec("torch_xla") is None:
        raise UserError(
            "--bf16 means a TPU to fairseq-train, and torch_xla is not installed; use"
            " --float32-matmul-precision medium, or on a GPU --fp16 or --amp"
        )
    if common.fp16 and not (has_gpu or common.memory_efficient_fp16):
        raise UserError(
            "--fp16 needs a GPU; on a CPU use --float32-matmul-precision medium, or"
            " --memory-efficient-fp16"
        )


def _require_alignments_of_the_model(cfg: Any) -> None:
    """Refuse a loss of the attention for a model that has none to give in training."""
    criterion = _options(cfg.get("criterion")).get("_name")
    model, aligned = _options(cfg.get("model")), _options(cfg.get("task")).get("load_alignments")
    if criterion != "label_smoothed_cross_entropy_with_alignment" or not aligned:
        return
    if _is_tied(cfg) and None in (model.get("alignment_layer"), model.get("alignment_heads")):
        raise UserError(
            f"--criterion {criterion}: trains the attention of --arch tied_transformer that"
            " --alignment-layer and --alignment-heads name; give both"
        )


def _require_numbers(cfg: Any) -> None:
    for part in cfg.values():
        for name, value in _options(part).items():
            for number in value if isinstance(value, list) else (value,):
                if isinstance(number, float) and math.isnan(number):
                    raise UserError(f"{option_name(name)} {number}: must be a number")
                if isinstance(number, int) and abs(number) > sys.maxsize:
                    raise UserError(f"{option_name(name)} {number}: must be {sys.maxsize} or less")
    for group, ranges in _RANGES.items():
        _require_ranges(_options(cfg.get(group)), ranges)


# by part of the configuration; beyond them no sentence is read, no hypothesis has a score, or
# fairseq divides by zero, at the end of the first epoch and before that is saved
_RANGES = {
    "common": {"log_interval": positive},
    "checkpoint": {"save_interval": positive},
    "dataset": {
        "num_workers": Range(0, 10**4),
        "required_batch_size_multiple": positive,
        "validate_interval": positive,
    },
    "generation": {
        "beam": positive,
        "nbest": positive,
        "diversity_rate": Range(-1, 10**6),
        "max_len_a": Range(-(10**6), 10**6),
        "sampling_topp": Range(-1, 1),
    },
}


def _require_ranges(options: Mapping[str, Any], ranges: Mapping[str, Range]) -> None:
    for name, allowed in ranges.items():
        if name in options and (fault := allowed.fault(options[name])):
            raise UserError(f"{option_name(name)} {options[name]}: {fault}")


# options that fairseq reads as text first and as Python literals later → the type of the literal
_LITERALS: dict[str, tuple[tuple[type, ...], str]] = {
    "optimizer_overrides": ((dict,), "{'lr': 0.1}"),
    "model_overrides": ((dict,), "{'dropout': 0.1}"),
    "adam_betas": ((tuple, list), "'(0.9, 0.98)'"),
}


def _require_literals(cfg: Any) -> None:
    for part in cfg.values():
        options = _options(part)
        for name in options.keys() & _LITERALS.keys():
            kinds, example = _LITERALS[name]
            if isinstance(text := options[name], str) and not isinstance(_literal(text), kinds):
                raise UserError(f"{option_name(name)} {text}: must be like {example}")
        for name, example in _JSON.items():
            if isinstance(text := options.get(name), str) and not isinstance(_json(text), dict):
                raise UserError(f"{option_name(name)} {text}: must be JSON like '{example}'")
        if isinstance(text := options.get("eval_bleu_args"), str):
            _require_options_of_search(_json(text))


_JSON = {"eval_bleu_args": '{"beam": 5}', "eval_bleu_detok_args": '{"lang": "de"}'}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _require_options_of_search(given: Mapping[str, Any]) -> None:
    """Refuse what a search ignores or cannot do, of ``--eval-bleu-args``."""
    known = GenerationConfig.__dataclass_fields__
    if unknown := sorted(given.keys() - known.keys()):
        raise UserError(f"--eval-bleu-args: fairseq-generate has no {option_name(unknown[0])}")
    numbers = {name: value for name, value in given.items() if isinstance(value, int | float)}
    _require_ranges(numbers, _RANGES["generation"])


def _literal(text: str) -> Any:
    try:
        return value_of(text)
    except UserError:
        return None


def _require_effect(cfg: Any, command: str | None) -> None:
    """Refuse options that every command takes and few read."""
    shards = _options(cfg.get("dataset")).get("num_shards", 1)
    if shards > 1 and command != fairseq_eval_lm.__name__:
        raise UserError(
            "--num-shards: only fairseq-generate and fairseq-eval-lm read a part of a set; leave it"
            " out, or give this command that part alone"
        )
    if _options(cfg.get("common_eval")).get("results_path"):
        raise UserError(
            "--results-path: only fairseq-generate writes to a folder; redirect the output of this"
            " command to a file"
        )


def _require_detokeniser(cfg: Any) -> None:
    task = _options(cfg.get("task"))
    name = task.get("eval_bleu_detok")
    if task.get("eval_bleu") and name not in TOKENIZER_REGISTRY:
        known = ", ".join(sorted(TOKENIZER_REGISTRY))
        raise UserError(f"--eval-bleu-detok {name}: no such tokeniser; use one of {known}")


def _require_packages(cfg: Any) -> None:
    """Refuse what fairseq logs and ends with status 0 without, having trained nothing."""
    asynchronously = _options(cfg.get("checkpoint")).get("write_checkpoints_asynchronously")
    if asynchronously and not importlib.util.find_spec("iopath"):
        raise UserError("--write-checkpoints-asynchronously needs the package iopath; leave it out")


def _require_same_dictionaries(cfg: Any) -> None:
    """Refuse folders of text whose dictionaries differ: fairseq reads all text by the first's."""
    data = _options(cfg.get("task")).get("data")
    first, *others = (Path(folder) for folder in split_paths(str(data or ".")))
    for file in (file for folder in others for file in sorted(folder.glob("dict*.txt"))):
        known = first / file.name
        if known.is_file() and _entries(known) != _entries(file):
            raise UserError(
                f"{file}: differs from {known}, by which the text of all folders is read; binarise"
                " the text again with that dictionary (fairseq-preprocess --srcdict, --tgtdict)"
            )


def _entries(dictionary: Path) -> list[bytes]:
    """The units of a dictionary, whose counts may differ."""
    return [line.rpartition(b" ")[0] for line in dictionary.read_bytes().splitlines()]


def _require_one_model(cfg: Any) -> None:
    """Refuse tasks that join the models of several pairs by the parts of fairseq's own."""
    task = registered_name(getattr(cfg, "task", None))
    if _is_tied(cfg) and issubclass(TASK_REGISTRY.get(task, object), MultilingualTranslationTask):
        raise UserError(
            f"--task {task}: joins fairseq's own architectures, one for each pair; for one tied"
            " model of several pairs, train on the text of all with --task translation"
        )


def _require_whole_models(cfg: Any) -> None:
    """Refuse to split a model of this package: every process has the whole of it.

    fairseq's ways of splitting a model need packages that are not installed with it, or fail later.
    """
    if not _is_tied(cfg):
        return
    parallel, model = cfg.distributed_training, f"a model of --arch {_arch(cfg)}"
    splits = {
        "--pipeline-model-parallel": parallel.pipeline_model_parallel,
        "--model-parallel-size": cfg.common.model_parallel_size > 1,
        "--ddp-backend fully_sharded": parallel.ddp_backend == "fully_sharded",
    }
    for option, given in splits.items():
        if given:
            raise UserError(
                f"{option}: {model} is not split over devices; every one trains the whole of it, "
                "with --ddp-backend legacy_ddp or pytorch_ddp"
            )
    if parallel.find_unused_parameters:  # torch would miss those in the loss
        raise UserError(
            f"--find-unused-parameters: {model} uses all of its parameters, those of the output "
            "layer outside of its forward pass; leave the option out (layerdrop needs "
            "--ddp-backend legacy_ddp instead)"
        )
    backend = parallel.ddp_backend
    if parallel.distributed_world_size > 1 and backend not in ("legacy_ddp", "no_c10d"):
        for side in ("encoder", "decoder"):
            if getattr(cfg.model, f"{side}_layerdrop", 0):
                raise UserError(
                    f"--{side}-layerdrop: with several workers it needs --ddp-backend legacy_ddp; "
                    f"{backend} waits for the gradients of every layer"
                )


def _arch(cfg: Any) -> str | None:
    return registered_name(getattr(cfg, "model", None))


def _is_tied(cfg: Any) -> bool:
    """Whether the model to build is one of this package."""
    return issubclass(ARCH_MODEL_REGISTRY.get(_arch(cfg), object), TiedModel)


def _options(part: Any) -> dict[str, Any]:
    """The options of a part of fairseq's configuration, which may be a namespace or a dataclass."""
    if OmegaConf.is_config(part):
        part = OmegaConf.to_container(part)
    return part if isinstance(part, dict) else vars(part) if hasattr(part, "__dict__") else {}


def _require_language_model_of(dictionary: Dictionary, model: Any) -> None:
    """Refuse a model that scores no next unit, or other units with the same numbers."""
    if not isinstance(model, FairseqLanguageModel):
        raise UserError("--lm-path: not a language model; give a checkpoint of one")
    if model.decoder.dictionary != dictionary:
        raise UserError(
            "--lm-path: dict.txt of the data-bin differs from the dictionary of the target, whose"
            " units the language model would score; prepare its text with fairseq-preprocess"
            " --only-source --srcdict and that dictionary, and train it again"
        )


def _require_searchable(cfg: Any, command: str | None) -> None:
    """Refuse options of ``fairseq-generate`` and its like that fail with every model."""
    generation = cfg.generation
    task = getattr(cfg.task, "_name", None)
    refine = task == "translation_lev"
    if generation.diverse_beam_groups > 0:
        raise UserError(
            "--diverse-beam-groups: fails in fairseq as soon as a sentence of a batch is done; use"
            " --diversity-rate or --sampling"
        )
    for name in ("print_step", "retain_iter_history"):
        if generation[name] and not refine:
            raise UserError(f"{option_name(name)}: only for --task translation_lev; leave it out")
    for name in ("score_reference", "prefix_size"):  # the latter is of the reference, too
        if generation[name] and command == fairseq_interactive.__name__:
            raise UserError(
                f"{option_name(name)}: fairseq-generate has references, others have none"
            )
    if generation.replace_unk is not None:
        raise UserError(
            "--replace-unk: fails in fairseq at the first unknown unit of a translation; leave it"
            " out, and prepare the text in subword units, which leave hardly any unknown"
        )
    if generation.constraints and command == fairseq_generate.__name__:
        raise UserError("--constraints: fairseq-interactive takes them, fairseq-generate does not")
    reads_streams = task == "tied_language_modeling" and cfg.task.sample_break_mode == "none"
    if reads_streams and command == fairseq_generate.__name__:
        raise UserError(
            "--task tied_language_modeling: reads a continuous stream, which has no sentences to"
            " continue; give --sample-break-mode eos, and --prefix-size N for the tokens to go on"
            " from"
        )
    subset = _options(cfg.get("dataset")).get("gen_subset", "")
    if "," in subset and command in (fairseq_generate.__name__, fairseq_eval_lm.__name__):
        raise UserError(
            f"--gen-subset {subset}: one set at a time; run the command once for each of them"
        )
    if getattr(cfg.scoring, "_name", None) == "wer" and not importlib.util.find_spec(
        "editdistance"
    ):
        raise UserError("--scoring wer needs the package editdistance; or use --scoring sacrebleu")

"""Options that a command does not read, or that fail with every model."""

from __future__ import annotations

import importlib.util
from typing import Any

from fairseq.data import Dictionary
from fairseq.data.encoders import TOKENIZER_REGISTRY
from fairseq.models import FairseqLanguageModel
from fairseq_cli import eval_lm as fairseq_eval_lm
from fairseq_cli import generate as fairseq_generate
from fairseq_cli import interactive as fairseq_interactive

from tiednmt.errors import UserError
from tiednmt.options import option_name
from tiednmt.patches.refusals.configuration import options_of_part


def require_effect(cfg: Any, command: str | None) -> None:
    """Refuse options that every command takes and few read."""
    shards = options_of_part(cfg.get("dataset")).get("num_shards", 1)
    if shards > 1 and command != fairseq_eval_lm.__name__:
        raise UserError(
            "--num-shards: only fairseq-generate and fairseq-eval-lm read a part of a set; leave it"
            " out, or give this command that part alone"
        )
    if options_of_part(cfg.get("common_eval")).get("results_path"):
        raise UserError(
            "--results-path: only fairseq-generate writes to a folder; redirect the output of this"
            " command to a file"
        )


def require_detokeniser(cfg: Any) -> None:
    """Refuse a tokeniser of ``--eval-bleu`` that fairseq does not have."""
    task = options_of_part(cfg.get("task"))
    name = task.get("eval_bleu_detok")
    if task.get("eval_bleu") and name not in TOKENIZER_REGISTRY:
        known = ", ".join(sorted(TOKENIZER_REGISTRY))
        raise UserError(f"--eval-bleu-detok {name}: no such tokeniser; use one of {known}")


def require_packages(cfg: Any) -> None:
    """Refuse what fairseq logs and ends with status 0 without, having trained nothing."""
    asynchronously = options_of_part(cfg.get("checkpoint")).get("write_checkpoints_asynchronously")
    if asynchronously and not importlib.util.find_spec("iopath"):
        raise UserError("--write-checkpoints-asynchronously needs the package iopath; leave it out")


def require_language_model_of(dictionary: Dictionary, model: Any) -> None:
    """Refuse a model that scores no next unit, or other units with the same numbers."""
    if not isinstance(model, FairseqLanguageModel):
        raise UserError("--lm-path: not a language model; give a checkpoint of one")
    if model.decoder.dictionary != dictionary:
        raise UserError(
            "--lm-path: dict.txt of the data-bin differs from the dictionary of the target, whose"
            " units the language model would score; prepare its text with fairseq-preprocess"
            " --only-source --srcdict and that dictionary, and train it again"
        )


def require_searchable(cfg: Any, command: str | None) -> None:
    """Refuse options of ``fairseq-generate`` and its like that fail with every model."""
    _require_working_search(cfg)
    _require_search_of(cfg, command)
    scorer = getattr(cfg.scoring, "_name", None)
    if scorer == "wer" and not importlib.util.find_spec("editdistance"):
        raise UserError("--scoring wer needs the package editdistance; or use --scoring sacrebleu")


def _require_working_search(cfg: Any) -> None:
    """Refuse options that fail whichever command searches."""
    generation = cfg.generation
    if generation.diverse_beam_groups > 0:
        raise UserError(
            "--diverse-beam-groups: fails in fairseq as soon as a sentence of a batch is done; use"
            " --diversity-rate or --sampling"
        )
    for name in ("print_step", "retain_iter_history"):
        if generation[name] and getattr(cfg.task, "_name", None) != "translation_lev":
            raise UserError(f"{option_name(name)}: only for --task translation_lev; leave it out")
    if generation.replace_unk is not None:
        raise UserError(
            "--replace-unk: fails in fairseq at the first unknown unit of a translation; leave it"
            " out, and prepare the text in subword units, which leave hardly any unknown"
        )


def _require_search_of(cfg: Any, command: str | None) -> None:
    """Refuse options that fail in one command and work in another."""
    generation, task = cfg.generation, getattr(cfg.task, "_name", None)
    if command == fairseq_interactive.__name__:
        for name in ("score_reference", "prefix_size"):  # the latter is of the reference, too
            if generation[name]:
                raise UserError(
                    f"{option_name(name)}: fairseq-generate has references, others have none"
                )
    if command == fairseq_generate.__name__:
        if generation.constraints:
            raise UserError(
                "--constraints: fairseq-interactive takes them, fairseq-generate does not"
            )
        if task == "tied_language_modeling" and cfg.task.sample_break_mode == "none":
            raise UserError(
                "--task tied_language_modeling: reads a continuous stream, which has no sentences"
                " to continue; give --sample-break-mode eos, and --prefix-size N for the tokens to"
                " go on from"
            )
    subset = options_of_part(cfg.get("dataset")).get("gen_subset", "")
    if "," in subset and command in (fairseq_generate.__name__, fairseq_eval_lm.__name__):
        raise UserError(
            f"--gen-subset {subset}: one set at a time; run the command once for each of them"
        )

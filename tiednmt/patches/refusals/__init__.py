"""Refuse at once, in one line, what would end in a traceback of fairseq's later."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.dataclass import utils as dataclass_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.sequence_generator import SequenceGenerator
from fairseq.trainer import Trainer
from fairseq_cli import generate as fairseq_generate

from tiednmt.errors import UserError
from tiednmt.patches.patch import command_of, patch
from tiednmt.patches.refusals.commands import (
    require_detokeniser,
    require_effect,
    require_language_model_of,
    require_packages,
    require_searchable,
)
from tiednmt.patches.refusals.models import (
    require_one_model,
    require_same_dictionaries,
    require_whole_models,
)
from tiednmt.patches.refusals.training import require_trainable
from tiednmt.patches.refusals.values import require_literals, require_numbers


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
        require_trainable(cfg)
        start(self, cfg, *args, **kwargs)

    patch(Trainer, "__init__", start_trainer)


def refuse_options_of_commands() -> None:
    """Refuse options that end in a traceback of fairseq's, or that a command does not read."""

    def call_main(call: Callable[..., Any], cfg: Any, main: Any, **kwargs: Any) -> Any:
        command = command_of(main)
        _require_usable(cfg, command)
        require_effect(cfg, command)
        require_detokeniser(cfg)
        require_packages(cfg)
        require_same_dictionaries(cfg)
        require_one_model(cfg)
        require_whole_models(cfg)
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
            require_language_model_of(tgt_dict, lm_model)
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
    require_numbers(cfg)
    require_literals(cfg)
    require_searchable(cfg, command)

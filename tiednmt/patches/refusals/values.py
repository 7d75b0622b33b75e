"""Values of options that no command can work with."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from fairseq.dataclass.configs import GenerationConfig

from tiednmt.errors import UserError
from tiednmt.literals import value_of
from tiednmt.options import Range, option_name, positive
from tiednmt.patches.refusals.configuration import options_of_part


def require_numbers(cfg: Any) -> None:
    """Refuse numbers that are none, that exceed 64 bits, or that are out of range."""
    for part in cfg.values():
        for name, value in options_of_part(part).items():
            for number in value if isinstance(value, list) else (value,):
                if isinstance(number, float) and math.isnan(number):
                    raise UserError(f"{option_name(name)} {number}: must be a number")
                if isinstance(number, int) and abs(number) > sys.maxsize:
                    raise UserError(f"{option_name(name)} {number}: must be {sys.maxsize} or less")
    for group, ranges in _RANGES.items():
        _require_ranges(options_of_part(cfg.get(group)), ranges)


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


def require_literals(cfg: Any) -> None:
    """Refuse text that fairseq reads as Python literals or as JSON, and that is neither."""
    for part in cfg.values():
        options = options_of_part(part)
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

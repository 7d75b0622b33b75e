"""Options of fairseq's own models are translated before an architecture sets its values."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from fairseq import options
from fairseq.dataclass import utils as dataclass_utils
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from omegaconf import DictConfig, OmegaConf, open_dict

from tiednmt.models.habits import known_habits, translated
from tiednmt.models.model_options import names_of_options
from tiednmt.models.tied_model import TiedModel
from tiednmt.patches.patch import patch


def translate_habits() -> None:
    """Translate the options of :mod:`tiednmt.models.habits` before an architecture sets its values.

    fairseq gives an architecture's values to all options that were not typed, so later it could no
    longer be told which were. Architectures registered after this call are changed when fairseq
    next reads a command line.
    """

    def parse_args_and_arch(parse: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        _change_architectures()
        return parse(*args, **kwargs)

    patch(options, "parse_args_and_arch", parse_args_and_arch)
    _change_architectures()


def give_values_to_configurations() -> None:
    """Let ``fairseq-hydra-train`` heed the values of an architecture such as ``tied_gru_tiny``.

    fairseq first gives the model's defaults to all options that a configuration leaves out, so that
    the architecture's values no longer replace any.
    """

    def merge(
        merge: Callable[..., DictConfig], defaults: Any, cfg: DictConfig, *args: Any, **kwargs: Any
    ) -> DictConfig:
        name = cfg.get("_name")
        if issubclass(ARCH_MODEL_REGISTRY.get(name, object), TiedModel):
            values = argparse.Namespace(**dict(OmegaConf.to_container(cfg)))  # type: ignore[arg-type]
            ARCH_CONFIG_REGISTRY[name](values)
            with open_dict(cfg):
                cfg.update({key: v for key, v in vars(values).items() if key not in cfg})
        return merge(defaults, cfg, *args, **kwargs)

    patch(dataclass_utils, "merge_with_parent", merge)


def _change_architectures() -> None:
    for name, model in ARCH_MODEL_REGISTRY.items():
        preset = ARCH_CONFIG_REGISTRY[name]
        if issubclass(model, TiedModel) and not getattr(preset, "translates", False):
            ARCH_CONFIG_REGISTRY[name] = _translating(preset, names_of_options(model))


def _translating(
    preset: Callable[[argparse.Namespace], None], own: Collection[str]
) -> Callable[[argparse.Namespace], None]:
    @wraps(preset)
    def translated_first(args: argparse.Namespace) -> None:
        if isinstance(args, argparse.Namespace):  # or the configuration of a checkpoint
            habits = {name: vars(args).pop(name) for name in known_habits(own) & {*vars(args)}}
            vars(args).update(translated({**vars(args), **habits}, own))
        preset(args)

    translated_first.translates = True  # type: ignore[attr-defined]
    return translated_first

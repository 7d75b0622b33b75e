"""Convert checkpoints of fairseq's own models to ours and back: weights and configuration."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import Any

from fairseq.dataclass.utils import merge_with_parent
from fairseq.models import (
    ARCH_CONFIG_REGISTRY,
    ARCH_MODEL_NAME_REGISTRY,
    ARCH_MODEL_REGISTRY,
    MODEL_DATACLASS_REGISTRY,
    MODEL_REGISTRY,
)
from omegaconf import DictConfig, OmegaConf, ValidationError
from torch import Tensor

from tiednmt.checkpoints import AVERAGES, plain_options, registered_name
from tiednmt.errors import UserError
from tiednmt.fairseq_errors import NO_CONFIGURATION
from tiednmt.models.habits import SAME, TIES, UNSCALED, translated
from tiednmt.models.model_options import as_config
from tiednmt.models.parameters import (
    ADAPTIVE_SOFTMAX,
    NAME_OF_USE,
    OURS,
    matrices_of,
    tie_map_of,
)
from tiednmt.models.stock import StockModel
from tiednmt.models.tied_model import TiedModel
from tiednmt.models.word_vectors import VECTORS
from tiednmt.modules.lookup import SQRT_DIM
from tiednmt.options import option_name
from tiednmt.tying import equal_matrices

Checkpoint = dict[str, Any]


def convert(state: Mapping[str, Any]) -> tuple[Checkpoint, str]:
    """Convert a checkpoint of fairseq's own model to one of ours, or one of ours to fairseq's.

    The result can translate and can be fine-tuned, but training cannot resume from it, since it has
    no optimizer state.

    Args:
        state: the checkpoint, from :func:`tiednmt.checkpoints.read_checkpoint`.

    Returns:
        The converted checkpoint and its architecture.

    Raises:
        UserError: the model has no counterpart, or the counterpart lacks a part of it.
    """
    if state["cfg"] is None:
        raise UserError(f"it {NO_CONFIGURATION}")
    name = registered_name(state["cfg"]["model"]) or ""
    model = ARCH_MODEL_REGISTRY.get(name) or MODEL_REGISTRY.get(name)
    options = plain_options(state["cfg"]["model"])
    # fairseq's models would read these files whenever they are built, and fail without them
    options = {key: v for key, v in options.items() if key not in VECTORS}
    config: Any
    if model is not None and issubclass(model, TiedModel):
        if model.stock is None:
            raise UserError(f"fairseq has no model of its own like {name}")
        architecture = model.stock.architecture
        options["criterion"] = registered_name(state["cfg"]["criterion"])  # fairseq's lstm reads it
        weights, config = _to_stock(model.stock, state["model"], options)
    else:
        architecture = _counterpart(ARCH_MODEL_NAME_REGISTRY.get(name, name))
        stock = MODEL_REGISTRY[architecture].stock
        weights, config = _to_ours(architecture, stock, state["model"], options)
    whole = OmegaConf.to_container(state["cfg"], resolve=True, enum_to_str=True)
    assert isinstance(whole, dict)
    extra = {key: v for key, v in state["extra_state"].items() if key not in AVERAGES}
    converted = {
        **state,
        "cfg": {**whole, "model": config},
        "model": weights,
        "extra_state": extra,
        "last_optimizer_state": None,
    }
    return converted, architecture


def _counterpart(stock: str) -> str:
    """The name of our counterpart of fairseq's architecture."""
    for name, model in MODEL_REGISTRY.items():
        of_model = model.stock if issubclass(model, TiedModel) else None
        if of_model is not None and of_model.architecture == stock:
            return name
    raise UserError(f"this package has no model like {stock or 'that of the checkpoint'}")


def _to_ours(
    name: str, stock: StockModel, weights: Mapping[str, Tensor], options: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the configuration of our model."""
    defaults = vars(MODEL_DATACLASS_REGISTRY[name]())
    same = {key: options[key] for key in defaults if options.get(key) is not None}
    if not any(key.startswith(ADAPTIVE_SOFTMAX) for key in weights):  # a default of fairseq's lstm
        options = {key: v for key, v in options.items() if not key.startswith("adaptive_softmax")}
    renamed = translated(options, defaults)
    is_scaled = stock.scales_lookups and not options.get(UNSCALED)
    dim = weights[stock.names.source].size(1)
    ours = stock.to_ours(weights, math.sqrt(dim) if is_scaled else 1.0)
    tied = {"tying": tie_map_of(ours, OURS).tying, "input_scale": SQRT_DIM if is_scaled else "1"}
    config = as_config({**defaults, **same, **renamed, **tied, "_name": name})
    _require_possible(name, config)
    return _stored_once(ours), plain_options(config)


def _require_possible(name: str, config: DictConfig) -> None:
    """Refuse options whose values our architecture does not take."""
    try:
        merge_with_parent(MODEL_DATACLASS_REGISTRY[name](), config)
    except ValidationError as error:
        option, reason = option_name(error.key), str(error).splitlines()[0]
        raise UserError(f"{option}: this package has no such {name} ({reason})") from error


def _stored_once(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of ours in which each matrix stands under its first name only."""
    tied = equal_matrices(matrices_of(weights, OURS))
    further = {NAME_OF_USE[use] for uses in tied for use in uses[1:]}
    return {name: weight for name, weight in weights.items() if name not in further}


def _to_stock(
    stock: StockModel, weights: Mapping[str, Tensor], options: Mapping[str, Any]
) -> tuple[dict[str, Tensor], argparse.Namespace]:
    """The weights and the configuration of fairseq's model."""
    model = MODEL_REGISTRY[stock.architecture]
    parser = argparse.ArgumentParser()
    model.add_args(parser)
    known = {action.dest for action in parser._actions}
    values = {name: value for name, value in options.items() if name in {*known, "criterion"}}
    values |= {
        name: options[ours]
        for name, ours in SAME.items()
        if name in known and name not in options and ours in options
    }
    values |= {flag: options["tying"] == tying for flag, tying in TIES.items()}
    if stock.scales(weights) != stock.scales_lookups:
        values[UNSCALED] = True
    config = argparse.Namespace(**values, arch=stock.architecture, _name=stock.architecture)
    ARCH_CONFIG_REGISTRY[stock.architecture](config)
    return stock.to_stock(weights), config

"""Transformers in the layout of Hugging Face's ``MarianMTModel``, which ``transformers`` reads.

``config.json``, ``generation_config.json``, ``model.safetensors`` (a tied matrix once: the other
names are tied on loading), ``vocab.json`` and ``target_vocab.json``, and ``segmentation/``, which
makes units of raw text. It is written without ``transformers``.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tiednmt.errors import CheckpointError, UserError
from tiednmt.export.model_folder import CONFIG, WEIGHTS
from tiednmt.export.requirements import require_plain_matrices, require_transformer
from tiednmt.export.safetensors import write_tensors
from tiednmt.export.trained import TrainedModel
from tiednmt.files import folder_when_whole, write_json
from tiednmt.models.tied_transformer import STOCK
from tiednmt.modes import DECODER, INPUTS, THREE_WAY
from tiednmt.text.manifest import SEGMENTATION

_GENERATION = "generation_config.json"
_BEAM = 5  # as tiednmt translate has it
_ENGINE = "Hugging Face's Marian"
_ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_accurate": "gelu_new", "tanh": "tanh"}


def write_marian(folder: Path, trained: TrainedModel) -> None:
    """Write a folder that ``transformers.MarianMTModel.from_pretrained`` reads.

    Raises:
        UserError: Marian has no such model; the folder exists.
    """
    model = require_transformer(trained.model, _ENGINE)
    require_plain_matrices(trained.model, _ENGINE)
    config = _config(trained, model)
    with folder_when_whole(folder) as partial:
        write_tensors(partial / WEIGHTS, _weights(model), {"format": "pt"})
        write_json(partial / CONFIG, config)
        write_json(partial / _GENERATION, _generation(config, model.decoder.max_target_positions))
        for name, dictionary in (
            ("vocab.json", trained.source),
            ("target_vocab.json", trained.target),
        ):
            numbers = {unit: i for i, unit in enumerate(dictionary.symbols)}
            text = json.dumps(numbers, ensure_ascii=False)
            (partial / name).write_text(text, encoding="utf-8")
        trained.pipeline.save(partial / SEGMENTATION)


def _config(trained: TrainedModel, model: Any) -> dict[str, Any]:
    """What ``MarianConfig`` reads."""
    encoder, decoder, tying = model.encoder, model.decoder, model.tie_map.tying
    if tying == INPUTS:
        raise UserError(f"--tying {INPUTS}: {_ENGINE} does not tie the inputs alone")
    activation = _ACTIVATIONS.get(encoder.stack.layers[0].feed_forward.activation)
    lacks = {
        "--encoder-normalize-before": encoder.stack.norm is not None,
        "--decoder-normalize-before": decoder.stack.norm is not None,
        "--layernorm-embedding": encoder.inputs.norm is not None,
        "--no-token-positional-embeddings": encoder.inputs.positions is None,
        "--activation-fn": activation is None,
    }
    for option, is_on in lacks.items():
        if is_on:
            raise UserError(f"{option}: {_ENGINE} has no such Transformer")
    return {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "vocab_size": len(trained.source),
        "decoder_vocab_size": len(trained.target),
        "share_encoder_decoder_embeddings": tying == THREE_WAY,
        "tie_word_embeddings": tying in (DECODER, THREE_WAY),
        "d_model": encoder.embedding.embedding_dim,
        **_side("encoder", encoder),
        **_side("decoder", decoder),
        "activation_function": activation,
        "scale_embedding": _scales(model),
        "max_position_embeddings": _positions(model),
        "pad_token_id": trained.target.pad(),
        "eos_token_id": trained.target.eos(),
        "bos_token_id": trained.target.bos(),
        "decoder_start_token_id": trained.target.eos(),
        "forced_eos_token_id": trained.target.eos(),
        "static_position_embeddings": True,
    }


def _generation(config: dict[str, Any], longest: int) -> dict[str, Any]:
    """What ``generate`` reads, which ends a translation after 20 units by default."""
    tokens = {name: number for name, number in config.items() if name.endswith("_token_id")}
    return {
        **tokens,
        "bad_words_ids": [[config["pad_token_id"]]],
        "max_length": longest,
        "num_beams": _BEAM,
    }


def _side(name: str, part: Any) -> dict[str, int]:
    layer = part.stack.layers[0]
    return {
        f"{name}_layers": len(part.stack.layers),
        f"{name}_attention_heads": layer.self_attention.heads,
        f"{name}_ffn_dim": layer.feed_forward.up.out_features,
    }


def _scales(model: Any) -> bool:
    """Whether lookups are multiplied by √dim.

    Raises:
        UserError: by something else than that or 1.
    """
    try:
        return STOCK.scales(model.state_dict())
    except CheckpointError:
        factors = {side.input_scale.value for side in (model.encoder, model.decoder)}
        shown = " and ".join(f"{factor:g}" for factor in sorted(factors))
        dim = math.sqrt(model.encoder.embedding.embedding_dim)
        raise UserError(
            f"--input-scale {shown}: {_ENGINE} scales by 1 or √dim ({dim:g}) alone"
        ) from None


def _positions(model: Any) -> int:
    return int(max(model.encoder.max_source_positions, model.decoder.max_target_positions))


def _weights(model: Any) -> dict[str, Tensor]:
    """The tensors by the names of ``MarianMTModel``."""
    state = {name: tensor.detach().float() for name, tensor in model.state_dict().items()}
    weights = {
        f"model.{name}": tensor.contiguous()
        for rule in STOCK.rules
        for name, tensor in rule.to_stock(state)
        if "embed_positions" not in name
    }
    embeddings, tying, count = model.embeddings, model.tie_map.tying, _positions(model)
    if tying == THREE_WAY:
        weights["model.shared.weight"] = embeddings.target.weight.detach().float()
    else:
        weights["model.encoder.embed_tokens.weight"] = embeddings.source.weight.detach().float()
        weights["model.decoder.embed_tokens.weight"] = embeddings.target.weight.detach().float()
    if tying not in (DECODER, THREE_WAY):
        weights["lm_head.weight"] = embeddings.output.embedding.weight.detach().float()
    weights["final_logits_bias"] = embeddings.output.bias.detach().float().unsqueeze(0)
    for name, side in (("encoder", model.encoder), ("decoder", model.decoder)):
        with torch.no_grad():
            rows = side.inputs.positions(side.embedding.weight, count)[:count].float()
        padded = rows.new_zeros(count, rows.size(1))  # where there are fewer, none is asked for
        padded[: len(rows)] = rows
        weights[f"model.{name}.embed_positions.weight"] = padded
    return weights

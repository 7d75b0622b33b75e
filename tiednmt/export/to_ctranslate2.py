"""Transformers for CTranslate2 (https://github.com/OpenNMT/CTranslate2), in float32 or int8.

Its file holds a matrix once, whatever its uses. Beside it are the dictionaries, as CTranslate2 has
them, and ``segmentation/``, which makes units of raw text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from tiednmt.errors import UserError
from tiednmt.export.requirements import require_plain_matrices, require_transformer
from tiednmt.export.trained import TrainedModel
from tiednmt.files import folder_when_whole
from tiednmt.modules.transformer import InputLayer
from tiednmt.modules.transformer_layers import DecoderLayer, EncoderLayer, Residual
from tiednmt.packages import optional_modules
from tiednmt.text.manifest import SEGMENTATION

_ENGINE = "CTranslate2"
_ACTIVATIONS = {"relu": "RELU", "gelu": "GELU", "gelu_accurate": "GELUTanh", "tanh": "Tanh"}
_PAD = "<blank>"  # what it calls padding


def write_ctranslate2(folder: Path, trained: TrainedModel, int8: bool = False) -> None:
    """Write a folder that ``ctranslate2.Translator`` reads.

    Args:
        folder: to be made.
        trained: a Transformer.
        int8: round every matrix to 8 bits, with a scale per row.

    Raises:
        UserError: CTranslate2 is not installed, or has no such model; the folder exists.
    """
    spec = specification(trained.model, trained.source, trained.target, int8)
    with folder_when_whole(folder) as partial:
        spec.save(str(partial))
        trained.pipeline.save(partial / SEGMENTATION)


def specification(model: Any, source: Dictionary, target: Dictionary, int8: bool = False) -> Any:
    """The model as CTranslate2 has it, with its dictionaries.

    Args:
        model: a Transformer.
        source: its source dictionary.
        target: and the target dictionary.
        int8: round every matrix to 8 bits, with a scale per row.

    Raises:
        UserError: CTranslate2 is not installed, or has no such model.
    """
    (specs,) = optional_modules("--to ctranslate2", "ctranslate2.specs")
    model = require_transformer(model, _ENGINE)
    require_plain_matrices(model, _ENGINE)
    spec = specs.TransformerSpec(_encoder(specs, model), _decoder(specs, model))
    spec.register_source_vocabulary(_symbols(source))
    spec.register_target_vocabulary(_symbols(target))
    spec.config.decoder_start_token = spec.config.eos_token
    spec.config.add_source_eos = True
    spec.validate()
    spec.optimize(quantization="int8" if int8 else None)
    return spec


def _encoder(specs: Any, model: Any) -> Any:
    encoder = model.encoder
    spec = specs.transformer_spec.TransformerEncoderSpec(**_options(specs, encoder))
    _inputs(spec, spec.embeddings[0], encoder, encoder.max_source_positions)
    for of_spec, layer in zip(spec.layer, encoder.stack.layers, strict=True):
        _layer(of_spec, layer)
    if encoder.stack.norm is not None:
        _norm(spec.layer_norm, encoder.stack.norm)
    return spec


def _decoder(specs: Any, model: Any) -> Any:
    decoder = model.decoder
    stack = decoder.stack
    spec = specs.transformer_spec.TransformerDecoderSpec(
        **_options(specs, decoder),
        alignment_layer=stack.aligned_layer,
        alignment_heads=stack.aligned_heads,
    )
    _inputs(spec, spec.embeddings, decoder, decoder.max_target_positions)
    for of_spec, layer in zip(spec.layer, stack.layers, strict=True):
        _layer(of_spec, layer)
        attention = layer.source_attention
        for linear, of in zip(
            of_spec.attention.linear,
            (attention.query, attention.key_value, attention.out),
            strict=True,
        ):
            _linear(linear, of)
        _norm(of_spec.attention.layer_norm, layer.source_residual.norm)
    if stack.norm is not None:
        _norm(spec.layer_norm, stack.norm)
    spec.projection.weight = _numbers(decoder.output.embedding.weight)
    spec.projection.bias = _numbers(decoder.output.bias)
    return spec


def _options(specs: Any, side: Any) -> dict[str, Any]:
    """What the specification of encoder and decoder are told alike."""
    first = side.stack.layers[0]
    activation = _ACTIVATIONS.get(first.feed_forward.activation)
    if activation is None:
        raise UserError(f"--activation-fn {first.feed_forward.activation}: {_ENGINE} has none such")
    if side.inputs.positions is None:
        raise UserError(f"--no-token-positional-embeddings: {_ENGINE} always adds positions")
    return {
        "num_layers": len(side.stack.layers),
        "num_heads": first.self_attention.heads,
        "pre_norm": side.stack.norm is not None,
        "activation": specs.common_spec.Activation[activation],
        "layernorm_embedding": side.inputs.norm is not None,
    }


def _inputs(spec: Any, embeddings: Any, side: Any, count: int) -> None:
    inputs: InputLayer = side.inputs
    embeddings.weight = _numbers(side.embedding.weight)
    spec.scale_embeddings = np.float32(side.input_scale.value)
    assert inputs.positions is not None
    with torch.no_grad():
        positions = inputs.positions(side.embedding.weight, count)[:count]
    spec.position_encodings.encodings = _numbers(positions)
    if inputs.norm is not None:
        _norm(spec.layernorm_embedding, inputs.norm)


def _layer(spec: Any, layer: EncoderLayer | DecoderLayer) -> None:
    attention, feed = layer.self_attention, layer.feed_forward
    _linear(spec.self_attention.linear[0], attention.qkv)
    _linear(spec.self_attention.linear[1], attention.out)
    _linear(spec.ffn.linear_0, feed.up)
    _linear(spec.ffn.linear_1, feed.down)
    residuals: tuple[tuple[Any, Residual], ...] = (
        (spec.self_attention, layer.self_residual),
        (spec.ffn, layer.ffn_residual),
    )
    for of_spec, residual in residuals:
        _norm(of_spec.layer_norm, residual.norm)


def _linear(spec: Any, layer: nn.Linear) -> None:
    spec.weight = _numbers(layer.weight)
    spec.bias = _numbers(layer.bias)


def _norm(spec: Any, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _numbers(norm.weight), _numbers(norm.bias)


def _numbers(tensor: Tensor) -> Any:
    """A copy, since CTranslate2 rounds in place."""
    return tensor.detach().float().cpu().contiguous().numpy().copy()


def _symbols(dictionary: Dictionary) -> list[str]:
    return [_PAD if symbol == dictionary.pad_word else symbol for symbol in dictionary.symbols]

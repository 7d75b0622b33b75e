"""Where models keep their matrices: names in state dicts, for our models and for fairseq's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

from torch import Tensor

from tiednmt.checkpoints import translates_with
from tiednmt.tying import (
    INPUT,
    OUTPUT,
    SOURCE_INPUT,
    TARGET_INPUT,
    TieMap,
    equal_matrices,
    make_tie_map,
    stored_matrices,
)


@dataclass(frozen=True)
class ParameterNames:
    """Names in a state dict; empty where an architecture has no such parameter."""

    source: str  # source input embedding, rows × dim
    target: str  # target input embedding; in a language model, the only input embedding
    output: str  # output embedding V
    bias: str = ""  # output bias, rows
    projection: str = ""  # P, dim × dim
    projection_bias: str = ""
    # operations between a matrix and its uses
    down: str = ""  # rank × dim
    up: tuple[str, ...] = ()  # dim × rank
    private: str = ""  # private rows of the source side
    output_map: str = ""  # prefix of the names of its parameters


OURS = ParameterNames(
    source="encoder.embedding.weight",
    target="decoder.embedding.weight",
    output="decoder.output.embedding.weight",
    bias="decoder.output.bias",
    projection="decoder.output.projection.weight",
    projection_bias="decoder.output.projection.bias",
    down="decoder.output.down.weight",
    up=("encoder.input_scale.up.weight", "decoder.input_scale.up.weight"),
    private="encoder.input_scale.private.weight",
    output_map="decoder.output.map.",
)
# our parameters with a row per entry of a dictionary; "left" is a factor of the low-rank map
SOURCE_ROWS = (OURS.source,)
TARGET_ROWS = (OURS.target, OURS.output, OURS.bias, f"{OURS.output_map}left")
PRIVATE_UNITS = "encoder.input_scale.private.units_version"  # the units that have private rows
# fairseq's transformer and lstm, and their language models; old versions keep V in embed_out
TRANSFORMER = ParameterNames(
    source="encoder.embed_tokens.weight",
    target="decoder.embed_tokens.weight",
    output="decoder.output_projection.weight",
    bias="decoder.output_projection.bias",
)
_OLD_TRANSFORMER = ParameterNames(
    source=TRANSFORMER.source, target=TRANSFORMER.target, output="decoder.embed_out"
)
LSTM = ParameterNames(
    source=TRANSFORMER.source,
    target=TRANSFORMER.target,
    output="decoder.fc_out.weight",
    bias="decoder.fc_out.bias",
)
ADAPTIVE_SOFTMAX = "decoder.adaptive_softmax."
# fairseq's buffers, our digest and scales that are not learned
NOT_PARAMETERS = ("version", "_float_tensor", "input_scale.constant")
NAME_OF_USE = {  # in a state dict of ours
    SOURCE_INPUT: OURS.source,
    TARGET_INPUT: OURS.target,
    INPUT: OURS.target,
    OUTPUT: OURS.output,
}
KNOWN = (OURS, TRANSFORMER, LSTM, _OLD_TRANSFORMER)


def names_of(weights: Mapping[str, Tensor]) -> ParameterNames | None:
    """The names that the architecture of a state dict uses; None if it is unknown.

    If several architectures name their input embeddings so, it is the one whose output embedding is
    stored.
    """
    fitting = [names for names in KNOWN if holds_embeddings(weights, names)]
    stored = (names for names in fitting if names.output in weights)
    return next(stored, next(iter(fitting), None))


def holds_embeddings(weights: Mapping[str, Tensor], names: ParameterNames) -> bool:
    """Whether a state dict holds the input embedding of the encoder, or else of the decoder."""
    return (names.source if translates_with(weights) else names.target) in weights


def with_all_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of ours, which stores each matrix once, with each matrix under all its names."""
    named = matrices_of(weights, OURS)
    return {**weights, **{NAME_OF_USE[use]: matrix for use, matrix in named.items()}}


def matrices_of(weights: Mapping[str, Tensor], names: ParameterNames) -> dict[str, Tensor]:
    """The matrices of a state dict (rows × dim) by use; a tied matrix has several uses."""
    source, target, output = (
        weights.get(name) for name in (names.source, names.target, names.output)
    )
    has_output = not any(name.startswith(ADAPTIVE_SOFTMAX) for name in weights)
    return stored_matrices(source, target, output, has_output)


def tie_map_of(weights: Mapping[str, Tensor], names: ParameterNames) -> TieMap:
    """The tie map of the model that a state dict holds; matrices that are equal count as tied."""
    groups = equal_matrices(matrices_of(weights, names))
    bias, *projection = (
        0 if (weight := weights.get(name)) is None else weight.numel()
        for name in (names.bias, names.projection, names.projection_bias)
    )
    embeddings = {name for known in KNOWN for name in astuple(known)[:3]} | {*astuple(names)[:3]}
    others = sum(
        weight.numel()
        for name, weight in weights.items()
        if name not in embeddings and not name.endswith(NOT_PARAMETERS)
    )
    return make_tie_map(
        groups,
        total=others + sum(weight.numel() for weight in groups.values()),
        bias=bias,
        projection=sum(projection),
        output_map=map_of(weights, names),
        down=weights.get(names.down),
        up=[weights[name] for name in names.up if name in weights],
        private=weights.get(names.private),
    )


def map_of(weights: Mapping[str, Tensor], names: ParameterNames) -> dict[str, Tensor]:
    """The parameters of the map between a matrix and V, by their names within the map."""
    prefix = names.output_map
    if not prefix:
        return {}
    named = (
        (name.removeprefix(prefix), w) for name, w in weights.items() if name.startswith(prefix)
    )
    return dict(named)

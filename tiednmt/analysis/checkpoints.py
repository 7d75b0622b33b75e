"""The embedding matrices in a checkpoint of one of our models, or of fairseq's own.

Our checkpoints store a shared matrix once, fairseq's store it under both names with equal values;
either way it is one matrix here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_MODEL_REGISTRY
from torch import Tensor

from tiednmt.analysis.embeddings import Embedding
from tiednmt.checkpoints import (
    configuration,
    data_of,
    other_dictionaries,
    read_checkpoint,
    registered_name,
)
from tiednmt.errors import UserError
from tiednmt.frequency import frequency_order
from tiednmt.models.parameters import (
    ParameterNames,
    holds_embeddings,
    map_of,
    matrices_of,
    names_of,
    tie_map_of,
)
from tiednmt.tying import (
    INPUT,
    OUTPUT,
    SOURCE_INPUT,
    SYMBOLS,
    TARGET_INPUT,
    TieMap,
    equal_matrices,
)


@dataclass(frozen=True)
class Checkpoint:
    """What the analysis needs of a checkpoint.

    Attributes:
        path: the file.
        architecture: the name that ``--arch`` takes.
        embeddings: the distinct embedding matrices.
        tie_map: which of the matrices are tied.
        bytes_per_parameter: the size of a stored number of the embeddings.
        dictionaries: source and target, or the only one of a language model.
        data_bin: the folder with the dictionaries.
        prepared: the prepared translation corpus that has this data-bin, if any.
    """

    path: Path
    architecture: str
    embeddings: tuple[Embedding, ...]
    tie_map: TieMap
    bytes_per_parameter: int
    dictionaries: tuple[Dictionary, ...]
    data_bin: Path
    prepared: Path | None


def load(path: Path, data: Path | None = None) -> Checkpoint:
    """Read a checkpoint of ``fairseq-train`` and the dictionaries it was trained with.

    Args:
        path: of the checkpoint.
        data: a prepared folder, or a data-bin; by default where the checkpoint says.

    Raises:
        UserError: it is missing, damaged or without embeddings, or was trained with other
            dictionaries.
    """
    state = read_checkpoint(path)
    config, weights = configuration(path, state), state["model"]
    names = _names(path, config.model, weights)
    named = matrices_of(weights, names)
    trained = data_of(path, state, data)
    inputs = (SOURCE_INPUT, TARGET_INPUT, INPUT)
    sizes = [len(named[name]) for name in inputs if name in named]
    if sizes != [*map(len, trained.dictionaries)]:  # the model may store no digest of them
        raise other_dictionaries(path, trained.data_bin)
    return Checkpoint(
        path=path,
        architecture=registered_name(config.model) or "",
        embeddings=embeddings_of(weights, names, trained.dictionaries, trained.languages),
        tie_map=tie_map_of(weights, names),
        bytes_per_parameter=next(iter(named.values())).element_size(),
        dictionaries=trained.dictionaries,
        data_bin=trained.data_bin,
        prepared=trained.prepared,
    )


def embeddings_of(
    weights: Mapping[str, Tensor],
    names: ParameterNames,
    dictionaries: tuple[Dictionary, ...],
    languages: tuple[str, ...],
) -> tuple[Embedding, ...]:
    """The distinct embedding matrices of a state dict, and P·V if there is a P.

    Args:
        weights: the state dict.
        names: where its architecture keeps them.
        dictionaries: source and target, or the only one of a language model.
        languages: source and target; empty for a language model.
    """
    named = matrices_of(weights, names)
    embeddings = [
        _embedding(_letter(uses), weight, uses, dictionaries, languages)
        for uses, weight in equal_matrices(named).items()
    ]
    if (behind := _behind_projection(weights, names, named)) is not None:
        embeddings.append(_embedding("P·V", behind, (OUTPUT,), dictionaries, languages))
    return tuple(embeddings)


def _names(path: Path, config: Any, weights: Mapping[str, Tensor]) -> ParameterNames:
    """Where the checkpoint keeps its matrices: as its architecture says, or judged by its names."""
    model = ARCH_MODEL_REGISTRY.get(registered_name(config))
    names = getattr(model, "parameter_names", None) or names_of(weights)
    if names is None or not holds_embeddings(weights, names):
        raise UserError(
            f"{path}: holds no embeddings under the names of this package or of fairseq's lstm, "
            "lstm_lm, transformer and transformer_lm"
        )
    return names


def _behind_projection(
    weights: Mapping[str, Tensor], names: ParameterNames, named: Mapping[str, Tensor]
) -> Tensor | None:
    """What multiplies the features before P; None without P, or if V is not a separate matrix."""
    projection, down = weights.get(names.projection), weights.get(names.down)
    if projection is None or map_of(weights, names):
        return None
    output = named[OUTPUT].float()
    return (output if down is None else output @ down.float()) @ projection.float()


def _letter(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return SYMBOLS[names[0]]
    return "S" if OUTPUT in names else "U"


def _embedding(
    letter: str,
    weight: Tensor,
    names: tuple[str, ...],
    dictionaries: tuple[Dictionary, ...],
    languages: tuple[str, ...],
) -> Embedding:
    """The rows of words, the most frequent first."""
    is_source = SOURCE_INPUT in names
    dictionary = dictionaries[0 if is_source else -1]
    rows = frequency_order(dictionary)
    sides = {0 if name == SOURCE_INPUT else 1 for name in names}
    return Embedding(
        letter,
        tuple(dictionary.symbols[row] for row in rows),
        weight[torch.from_numpy(rows)].float().numpy(),
        frozenset(languages[side] for side in sides if languages),
    )

"""The embedding matrices of a checkpoint of fairseq, ours or its own, from the names it stores.

A matrix that two parts of a model share stands in a checkpoint once (ours) or twice with equal
values (fairseq's own); either way it is one here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.data.data_utils import infer_language_pair
from fairseq.models import ARCH_MODEL_REGISTRY
from torch import Tensor

from tiednmt.analysis.embeddings import Embedding
from tiednmt.checkpoints import read_checkpoint, registered_name
from tiednmt.errors import UserError
from tiednmt.frequency import frequency_order
from tiednmt.models.parameters import (
    ParameterNames,
    holds_embeddings,
    map_of,
    matrices_of,
    names_of,
    take,
    tie_map_of,
)
from tiednmt.tying import (
    DIGEST,
    INPUT,
    OUTPUT,
    SOURCE_INPUT,
    TARGET_INPUT,
    TieMap,
    equal_matrices,
    vocabulary_digest,
)

_LETTERS = {SOURCE_INPUT: "U_src", TARGET_INPUT: "U_tgt", INPUT: "U", OUTPUT: "V"}


@dataclass(frozen=True)
class Checkpoint:
    """What the analysis needs of a checkpoint.

    ``bytes_per_parameter`` is that of the embeddings as stored. ``dictionaries`` are source and
    target, or the one of a language model; ``data_bin`` is where they are.
    """

    path: Path
    architecture: str
    embeddings: tuple[Embedding, ...]
    tie_map: TieMap
    bytes_per_parameter: int
    dictionaries: tuple[Dictionary, ...]
    data_bin: Path


def load(path: Path, data: Path | None = None) -> Checkpoint:
    """Read a checkpoint of ``fairseq-train`` and the dictionaries it was trained with.

    Args:
        path: of the checkpoint.
        data: a prepared folder, or a data-bin; by default where the checkpoint says.

    Raises:
        UserError: missing or damaged, without embeddings, or other dictionaries than its own.
    """
    state = read_checkpoint(path)
    config = state["cfg"]
    if config is None:
        raise UserError(
            f"{path}: holds no configuration, so it is not a checkpoint of fairseq-train"
        )
    weights = state["model"]
    names = _names(path, config.model, weights)
    named = matrices_of(weights, names)
    folder = _dictionary_folder(path, config.task, data)
    languages = _languages(path, config.task, folder) if SOURCE_INPUT in named else None
    files = [f"dict.{language}.txt" for language in languages] if languages else ["dict.txt"]
    dictionaries = tuple(_dictionary(folder / file) for file in files)
    _require_own(path, folder, weights, named, dictionaries)
    return Checkpoint(
        path=path,
        architecture=registered_name(config.model) or "",
        embeddings=embeddings_of(weights, names, dictionaries, languages),
        tie_map=tie_map_of(weights, names),
        bytes_per_parameter=next(iter(named.values())).element_size(),
        dictionaries=dictionaries,
        data_bin=folder,
    )


def embeddings_of(
    weights: Mapping[str, Tensor],
    names: ParameterNames,
    dictionaries: tuple[Dictionary, ...],
    languages: tuple[str, str] | None,
) -> tuple[Embedding, ...]:
    """The embedding matrices of a state dict, those that are equal once; P·V where there is a P.

    Args:
        weights: the state dict.
        names: where its architecture keeps them.
        dictionaries: of source and target, or the one of a language model.
        languages: of a translation model.
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
    """Where the architecture says that it keeps its matrices, or where a known one would."""
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
    projection, down = take(weights, names.projection), take(weights, names.down)
    if projection is None or map_of(weights, names):
        return None
    output = named[OUTPUT].float()
    return (output if down is None else output @ down.float()) @ projection.float()


def _letter(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return _LETTERS[names[0]]
    return "S" if OUTPUT in names else "U"


def _embedding(
    letter: str,
    weight: Tensor,
    names: tuple[str, ...],
    dictionaries: tuple[Dictionary, ...],
    languages: tuple[str, str] | None,
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
        frozenset(languages[side] for side in sides) if languages else frozenset(),
    )


# --- dictionaries ------------------------------------------------------------------------------


def _dictionary_folder(path: Path, task: Any, data: Path | None) -> Path:
    stored = Path(str(getattr(task, "data", "")).split(":")[0])
    places = [stored] if data is None else [data / "data-bin", data]
    for place in places:
        if any(place.glob("dict.*txt")):
            return place
    if data is None:
        raise UserError(
            f"{path}: its dictionaries are not in {stored}; give the prepared folder it was "
            "trained on as --data"
        )
    raise UserError(f"--data {data}: holds no dictionaries (dict.*txt)")


def _languages(path: Path, task: Any, folder: Path) -> tuple[str, str]:
    source, target = getattr(task, "source_lang", None), getattr(task, "target_lang", None)
    if source is None or target is None:
        source, target = infer_language_pair(str(folder))
    if source is None or target is None:
        raise UserError(f"{path}: {folder} does not say from which language it translates to which")
    return source, target


def _dictionary(path: Path) -> Dictionary:
    if not path.is_file():
        raise UserError(f"{path}: no such dictionary; give the folder it was trained on as --data")
    return Dictionary.load(str(path))


def _require_own(
    path: Path,
    folder: Path,
    weights: Mapping[str, Tensor],
    named: Mapping[str, Tensor],
    dictionaries: tuple[Dictionary, ...],
) -> None:
    """Refuse dictionaries of another number of types, or (models of ours) of other types."""
    inputs = (SOURCE_INPUT, TARGET_INPUT, INPUT)
    sizes = [len(named[name]) for name in inputs if name in named]
    digest = weights.get(DIGEST)
    if sizes != [*map(len, dictionaries)] or (
        digest is not None and not torch.equal(digest, vocabulary_digest(*dictionaries))
    ):
        raise UserError(
            f"{path}: was trained on other dictionaries than those in {folder}; pass the prepared "
            "folder it was trained on as --data"
        )

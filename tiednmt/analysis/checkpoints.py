"""The embedding matrices of a checkpoint of fairseq, ours or its own, from the names it stores.

A matrix that two parts of a model share stands in a checkpoint once (ours) or twice with equal
values (fairseq's own); either way it is one here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.data.data_utils import infer_language_pair
from torch import Tensor

from tiednmt.analysis.embeddings import Embedding
from tiednmt.checkpoints import read_checkpoint
from tiednmt.errors import UserError
from tiednmt.frequency import frequency_order
from tiednmt.tying import (
    INPUT,
    OUTPUT,
    SOURCE_INPUT,
    TARGET_INPUT,
    TieMap,
    make_tie_map,
    shared,
    vocabulary_digest,
)

# where models keep them: this package's, then stock fairseq's (transformer, lstm and their _lm)
_SOURCE = ("encoder.embedding.weight", "encoder.embed_tokens.weight")
_TARGET = ("decoder.embedding.weight", "decoder.embed_tokens.weight")
_OUTPUT = (
    "decoder.output.embedding.weight",
    "decoder.output_projection.weight",
    "decoder.fc_out.weight",
    "decoder.embed_out",
)
_BIAS = ("decoder.output.bias", "decoder.output_projection.bias", "decoder.fc_out.bias")
_PROJECTION = ("decoder.output.projection.weight",)
_PROJECTION_BIAS = ("decoder.output.projection.bias",)
_ADAPTIVE = "decoder.adaptive_softmax."
_ARE_NOT_PARAMETERS = ("version", "_float_tensor")

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
        raise UserError(f"{path}: holds no configuration, so it is no checkpoint of fairseq-train")
    weights = state["model"]
    named = _matrices(path, weights)
    folder = _dictionary_folder(path, config.task, data)
    languages = _languages(path, config.task, folder) if SOURCE_INPUT in named else None
    names = [f"dict.{language}.txt" for language in languages] if languages else ["dict.txt"]
    dictionaries = tuple(_dictionary(folder / name) for name in names)
    _require_own(path, folder, weights, named, dictionaries)
    groups = shared(named, _equal)
    projection = _first(weights, _PROJECTION)
    embeddings = [
        _embedding(_letter(names), weight, names, dictionaries, languages)
        for names, weight in groups.items()
    ]
    if projection is not None:
        behind = named[OUTPUT].float() @ projection.float()
        embeddings.append(_embedding("P·V", behind, (OUTPUT,), dictionaries, languages))
    bias, projection_bias = _first(weights, _BIAS), _first(weights, _PROJECTION_BIAS)
    matrices = (*_SOURCE, *_TARGET, *_OUTPUT)
    rest = sum(
        weight.numel()
        for name, weight in weights.items()
        if name not in matrices and not name.endswith(_ARE_NOT_PARAMETERS)
    )
    return Checkpoint(
        path=path,
        architecture=str(getattr(config.model, "_name", None) or getattr(config.model, "arch", "")),
        embeddings=tuple(embeddings),
        tie_map=make_tie_map(
            groups,
            total=rest + sum(weight.numel() for weight in groups.values()),
            bias=_count(bias),
            projection=_count(projection) + _count(projection_bias),
        ),
        bytes_per_parameter=next(iter(groups.values())).element_size(),
        dictionaries=dictionaries,
        data_bin=folder,
    )


def _count(weight: Tensor | None) -> int:
    return 0 if weight is None else weight.numel()


def _first(weights: Mapping[str, Tensor], names: Sequence[str]) -> Tensor | None:
    return next((weights[name] for name in names if name in weights), None)


def _matrices(path: Path, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The matrices by what they are; one that is not stored is tied to the one before it."""
    source, target, output = (_first(weights, names) for names in (_SOURCE, _TARGET, _OUTPUT))
    translates = any(name.startswith("encoder.") for name in weights)
    target = source if target is None else target
    if target is None or (translates and source is None):
        raise UserError(
            f"{path}: holds no embeddings under the names of this package or of fairseq's lstm, "
            "lstm_lm, transformer and transformer_lm"
        )
    named = {INPUT: target}
    if source is not None:
        named = {SOURCE_INPUT: source, TARGET_INPUT: target}
    if not any(name.startswith(_ADAPTIVE) for name in weights):  # that is no matrix of all types
        named[OUTPUT] = target if output is None else output
    return named


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


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
    digest = weights.get("vocabulary_version")
    if sizes != [*map(len, dictionaries)] or (
        digest is not None and not torch.equal(digest, vocabulary_digest(*dictionaries))
    ):
        raise UserError(
            f"{path}: was trained on other dictionaries than those in {folder}; pass the prepared "
            "folder it was trained on as --data"
        )

"""The record of ``tiednmt analyse``, in the file ``analysis.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tiednmt.embeddings.gradients import GradientShares, Ranks
from tiednmt.errors import UserError
from tiednmt.files import read_json, write_json
from tiednmt.typed import Fault, from_json, to_json

FILE = "analysis.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class TiedMatrix:
    """An embedding matrix with the names of its uses; ``shape`` is rows × dimensions."""

    names: Sequence[str]
    shape: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class StoredTieMap:
    """What :meth:`tiednmt.tying.TieMap.to_json` writes, and the size of a stored parameter."""

    matrices: Sequence[TiedMatrix]
    others: Mapping[str, int]  # numbers of the parameters outside the matrices
    bytes_per_parameter: int
    between: str = ""  # the operations between a matrix and its uses


@dataclass(frozen=True, kw_only=True)
class VocabularyShares:
    """How many units of the training text occur in only one language, and in both."""

    source_only: int
    target_only: int
    both: int


@dataclass(frozen=True, kw_only=True)
class NormBand:
    """The mean norm of a band's rows."""

    ranks: Ranks
    mean: float


@dataclass(frozen=True, kw_only=True)
class WordMap:
    """Words in two dimensions."""

    method: str
    words: Sequence[str]
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class AnalysedMatrix:
    """An embedding matrix; ``neighbours`` has for each word the nearest words and their cosines."""

    words: int
    dim: int
    norms: Sequence[NormBand]
    neighbours: Mapping[str, Sequence[tuple[str, float]]]
    map: WordMap


@dataclass(frozen=True, kw_only=True)
class MovementBand:
    """How many of the ``rows`` of a band an update moves, and how far on average."""

    ranks: Ranks
    rows: float
    moved: float
    distance: float


@dataclass(frozen=True, kw_only=True)
class RowMovement:
    """Means over the measured ``updates`` of a training run, by matrix."""

    updates: int
    matrices: Mapping[str, Sequence[MovementBand]]


@dataclass(frozen=True, kw_only=True)
class SentenceAttention:
    """The attention between a sentence and its translation, both with the end of the sentence.

    ``weights`` are target × source; ``alignment`` has (row, column) of the largest in each row.
    """

    source: Sequence[str]
    target: Sequence[str]
    weights: Sequence[Sequence[float]]
    alignment: Sequence[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class AnalysedModel:
    """A checkpoint, or a file of word vectors, which has no architecture and no tie map.

    If it has ``subwords``, the vector of a word is the mean of the rows of its units.
    """

    name: str
    path: str
    subwords: bool
    matrices: Mapping[str, AnalysedMatrix]  # by letter
    architecture: str | None = None
    tie_map: StoredTieMap | None = None
    vocabulary: VocabularyShares | None = None
    row_movement: RowMovement | None = None
    gradients: GradientShares | None = None
    attention: Sequence[SentenceAttention] = ()


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Spearman's ρ in a word-similarity set, over the ``covered`` pairs; None: undefined."""

    rho: float | None
    covered: int


@dataclass(frozen=True, kw_only=True)
class SetSimilarities:
    """A word-similarity set of ``pairs``; ``by`` embedding: name of the model, and letter."""

    pairs: int
    by: Mapping[str, Similarity]


@dataclass(frozen=True, kw_only=True)
class PairLikeness:
    """ρ of two embeddings' cosines; ``error`` is half of the 95% interval, 0 if exact."""

    of: tuple[str, str]
    rho: float | None
    error: float


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Every two embeddings, over ``pairs`` of their common ``words``: all of them if ``exact``."""

    words: int
    pairs: int
    exact: bool
    by: Sequence[PairLikeness]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The measurements of the embeddings of several models."""

    checkpoints: Sequence[AnalysedModel]
    similarity: Mapping[str, SetSimilarities]
    likeness: Likeness | None = None
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.checkpoints:
            raise Fault("is empty", "checkpoints")


def read_analysis(path: Path) -> Analysis:
    """The analysis in ``path``.

    Raises:
        UserError: it is missing, damaged or of another version.
    """
    content = read_json(path)
    try:
        return _checked(content)
    except Fault as fault:
        raise UserError(
            f"{path}: {fault}, so it is damaged or of another version; run tiednmt analyse again"
        ) from fault


def write_analysis(path: Path, analysis: Analysis) -> None:
    """Write the analysis, whole or not at all.

    Raises:
        Fault: a value in it is not of its type; nothing is written.
    """
    content = {"format": FORMAT, **to_json(analysis)}
    _checked(json.loads(json.dumps(content)))
    write_json(path, content)


def _checked(content: object) -> Analysis:
    if not isinstance(content, dict):
        raise Fault("it is no object")
    if content.get("format") != FORMAT:
        raise Fault(f"format is {content.get('format')!r}, not {FORMAT}")
    fields = {name: value for name, value in content.items() if name != "format"}
    analysis: Analysis = from_json(Analysis, fields)
    return analysis

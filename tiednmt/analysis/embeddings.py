"""An embedding matrix with the words of its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tiednmt.errors import UserError
from tiednmt.text.pipeline import TextPipeline

Vectors = NDArray[np.float32]
Neighbour = tuple[str, float]  # a word and its cosine
Units = Callable[[str], Sequence[str]]  # a word → the units of the vocabulary it is written in


def whole(word: str) -> Sequence[str]:
    """The :data:`Units` of a vocabulary of words."""
    return (word,)


class EmbeddingError(UserError):
    """A matrix that cannot be used. The caller adds the file, which is not known here."""


@dataclass(frozen=True)
class Embedding:
    """A matrix (words × dim) with its word list, without fairseq's symbols of structure.

    Args:
        name: the paper's: U (input), V (output), S (tied), P·V (output behind a projection); of a
            translation model the input embeddings are U_src and U_tgt.
        words: of the rows, the most frequent first where that is known.
        vectors: the rows.
        languages: whose words these are, as far as that is known.

    Raises:
        EmbeddingError: there is not one word per row, or a value is not a number.
    """

    name: str
    words: tuple[str, ...]
    vectors: Vectors
    languages: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if len(self.words) != len(self.vectors):
            raise EmbeddingError(
                f"{self.name}: {len(self.vectors):,} rows for {len(self.words):,} words; give the "
                "folder with the dictionaries that it was trained with"
            )
        if not np.isfinite(self.vectors).all():
            raise EmbeddingError(
                f"{self.name}: holds values that are not numbers; training diverged"
            )

    @cached_property
    def rows(self) -> dict[str, int]:
        """Word → row."""
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def directions(self) -> NDArray[np.float64]:
        """The rows at length one (a row of zeros stays one)."""
        return unit_length(self.vectors)

    def vector(self, word: str, units: Units = whole) -> Vectors | None:
        """The mean of the rows of the word's units; None if one of them is not in the vocabulary.

        A word that is not there as written is looked up in lower case. The mean has the direction,
        and so every cosine, of the sum.
        """
        known = self.known_units(word, units)
        return self.take(known).mean(axis=0) if known else None

    def known_units(self, word: str, units: Units = whole) -> Sequence[str]:
        """The units of the word as written, or else in lower case; none if one is missing."""
        for form in (word, word.lower()):
            written = units(form)
            if all(unit in self.rows for unit in written):
                return written
        return ()

    def take(self, words: Sequence[str]) -> Vectors:
        """The rows of these words, which must be in the vocabulary."""
        return self.vectors[[self.rows[word] for word in words]]


def unit_length(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """The vectors scaled to length one, in double precision; zeros stay zeros."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return vectors / np.where(lengths, lengths, 1.0)


def nearest(embedding: Embedding, word: str, count: int, units: Units = whole) -> list[Neighbour]:
    """The words of greatest cosine with ``word``, without its own units; none if it is unknown."""
    known = embedding.known_units(word, units)
    if not known:
        return []
    cosines = embedding.directions @ unit_length(embedding.take(known).mean(axis=0))
    own = {word, word.lower(), *known}
    order = np.argsort(-cosines, kind="stable")[: count + len(own)]
    others = [row for row in order if embedding.words[row] not in own]
    return [(embedding.words[row], float(cosines[row])) for row in others[:count]]


def units_of(embedding: Embedding, pipeline: TextPipeline, language: str | None = None) -> Units:
    """How a word is written in a vocabulary of subwords.

    Without a ``language``, or with one that is not among those of the embedding, the word is taken
    to be of the embedding's language that writes it in the fewest units.
    """
    languages = sorted(embedding.languages)
    if language in languages:
        languages = [language]
    return lambda word: min((pipeline.segment(word, of).split() for of in languages), key=len)


def common_words(embeddings: Sequence[Embedding]) -> list[str]:
    """The words that all the embeddings have, in the order of the first."""
    others = [embedding.rows for embedding in embeddings[1:]]
    return [word for word in embeddings[0].words if all(word in rows for rows in others)]

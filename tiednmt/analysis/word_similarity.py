"""Cosines of embeddings against human judgements of word similarity (Press & Wolf 2017, section 4).

Files are those of Faruqui and Dyer's collection (github.com/mfaruqui/eval-word-vectors): two words
and a score per line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import spearmanr

from tiednmt.analysis.embeddings import Embedding, Units, unit_length, whole
from tiednmt.errors import UserError

SETS = {
    "SimLex-999": "EN-SIMLEX-999.txt",
    "Verb-143": "EN-VERB-143.txt",
    "MEN": "EN-MEN-TR-3k.txt",
    "Rare-Word": "EN-RW-STANFORD.txt",
    "MTurk-771": "EN-MTurk-771.txt",
}  # file of each, by the paper's name


def set_name(path: Path) -> str:
    """The name of the set in a file: as the paper calls it, or else that of the file."""
    names = {file: name for name, file in SETS.items()}
    return names.get(path.name, path.stem)


@dataclass(frozen=True)
class WordPairs:
    """A set of word pairs and how similar people found them."""

    name: str
    pairs: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True)
class Similarity:
    """Spearman's ρ of cosines and human scores, over the covered pairs.

    It is None if there are fewer than two pairs, or if all scores or all cosines are equal.
    """

    rho: float | None
    covered: int
    pairs: int


def parse_pairs(name: str, lines: Iterable[str], place: str) -> WordPairs:
    """Read lines of two words and a score, separated by white space; empty lines do not count.

    Args:
        name: of the set.
        lines: of the file.
        place: what errors call the file.

    Raises:
        UserError: a line has another form, or there is none.
    """
    pairs = []
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts:
            continue
        try:
            one, other, text = parts
            score = float(text)
            if not math.isfinite(score):
                raise ValueError
        except ValueError:
            raise UserError(
                f"{place}, line {number}: not two words and a score, separated by tabs or spaces: "
                f"{line[:60]!r}"
            ) from None
        pairs.append((one, other, score))
    if not pairs:
        raise UserError(f"{place}: holds no word pairs")
    return WordPairs(name, tuple(pairs))


def word_similarity(embedding: Embedding, pairs: WordPairs, units: Units = whole) -> Similarity:
    """How well the embedding's cosines rank the pairs whose words it both has."""
    human, cosines = [], []
    for one, other, score in pairs.pairs:
        first, second = (embedding.vector(word, units) for word in (one, other))
        if first is not None and second is not None:
            human.append(score)
            cosines.append(float(unit_length(first) @ unit_length(second)))
    varied = all(len(set(values)) > 1 for values in (human, cosines))
    rho = float(spearmanr(human, cosines).statistic) if varied else None
    return Similarity(rho, len(human), len(pairs.pairs))

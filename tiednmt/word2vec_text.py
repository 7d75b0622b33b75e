"""Word vectors as text: word2vec's format, or GloVe's, which lacks the first line."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

_logger = logging.getLogger(__name__)


def sizes_in(line: bytes) -> tuple[int, int] | None:
    """The number of words and of numbers per word, if this is the line word2vec begins with."""
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        return None
    return int(parts[0]), int(parts[1])


def read_text(path: Path, wanted: Collection[str] | None = None) -> dict[str, Vector]:
    """The vectors of all words, or of the ``wanted`` ones, in the order of the file.

    Each line has a word, which may have spaces, and its numbers. A word's first vector counts.

    Raises:
        ValueError: the file has another format; the message says where.
    """
    wanted = None if wanted is None else frozenset(wanted)
    vectors: dict[str, Vector] = {}
    twice = number = 0
    with path.open("rb") as file:
        sizes = sizes_in(file.readline())
        if sizes is None:
            file.seek(0)
        size = sizes[1] if sizes else 0
        for number, line in enumerate(file, start=1):
            fields = line.rstrip().split(b" ")
            size = size or len(fields) - 1
            word = b" ".join(fields[:-size]).decode("utf-8", "replace")
            twice += word in vectors
            try:
                if not word:
                    raise ValueError(f"no word with {size} numbers")
                if word not in vectors and (wanted is None or word in wanted):
                    vectors[word] = _numbers(fields[-size:])
            except ValueError as error:
                raise ValueError(f"line {number + bool(sizes)}: {error}") from None
    if sizes and number != sizes[0]:
        raise ValueError(f"its first line says {sizes[0]:,} words, but it has {number:,}")
    if twice:
        _logger.warning(f"{path}: {twice:,} words occur twice; the first vector is used")
    return vectors


def _numbers(fields: Sequence[bytes]) -> Vector:
    with np.errstate(over="ignore"):
        vector = np.array(fields, dtype=np.float32)
    if not np.isfinite(vector).all():
        raise ValueError("a number that is not finite")
    return vector

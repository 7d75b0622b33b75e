"""The words of a dictionary by their frequency in the training text."""

from __future__ import annotations

import numpy as np
from fairseq.data import Dictionary
from numpy.typing import NDArray

_PADDING_ENTRY = "madeupword"  # what fairseq-preprocess fills dictionaries up with

Band = tuple[int, int]  # first and last rank, from 1


def frequency_order(dictionary: Dictionary) -> NDArray[np.int64]:
    """Rows of the words of a dictionary, the most frequent first; no symbols, no padding."""
    rows = [
        row
        for row in range(dictionary.nspecial, len(dictionary))
        if not (dictionary.symbols[row].startswith(_PADDING_ENTRY) and not dictionary.count[row])
    ]
    return np.array(sorted(rows, key=lambda row: -dictionary.count[row]), dtype=np.int64)


def bands(words: int) -> list[Band]:
    """Ranks 1 to 10, 11 to 100, 101 to 1,000 and so on up to ``words``."""
    found, last = [], 0
    while last < words:
        first, last = last + 1, min(max(10, 10 * last), words)
        found.append((first, last))
    return found

"""The words of a dictionary by their frequency in the training text, and by whose text has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary
from numpy.typing import NDArray

_PADDING_ENTRY = "madeupword"  # what fairseq-preprocess fills dictionaries up with
_SENTENCES_AT_ONCE = 1000

# whose text has a unit of a joint dictionary; special symbols and padding may be of neither
SOURCE_ONLY, TARGET_ONLY, BOTH, NEITHER = "source only", "target only", "both", "neither"
SIDES = (SOURCE_ONLY, TARGET_ONLY, BOTH, NEITHER)

Band = tuple[int, int]  # first and last rank, from 1


def is_padding_entry(dictionary: Dictionary, row: int) -> bool:
    """Whether a row is of no unit, but fills the dictionary up."""
    return dictionary.symbols[row].startswith(_PADDING_ENTRY) and not dictionary.count[row]


def frequency_order(dictionary: Dictionary) -> NDArray[np.int64]:
    """Rows of the words of a dictionary, the most frequent first; no symbols, no padding."""
    rows = [
        row
        for row in range(dictionary.nspecial, len(dictionary))
        if not is_padding_entry(dictionary, row)
    ]
    return np.array(sorted(rows, key=lambda row: -dictionary.count[row]), dtype=np.int64)


def bands(words: int) -> list[Band]:
    """Ranks 1 to 10, 11 to 100, 101 to 1,000 and so on up to ``words``."""
    ranks, last = [], 0
    while last < words:
        first, last = last + 1, min(max(10, 10 * last), words)
        ranks.append((first, last))
    return ranks


def occurrences(text: Any, rows: int) -> NDArray[np.int64]:
    """How often a text has each entry of its dictionary.

    Args:
        text: one of fairseq's datasets of a language, whose items are tensors of entries.
        rows: entries of the dictionary.
    """
    counts = np.zeros(rows, dtype=np.int64)
    for first in range(0, len(text), _SENTENCES_AT_ONCE):
        some = range(first, min(first + _SENTENCES_AT_ONCE, len(text)))
        counts += np.bincount(torch.cat([text[i] for i in some]).numpy(), minlength=rows)
    return counts

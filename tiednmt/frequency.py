"""The words of a dictionary by their frequency, and by the languages in which they occur."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary
from numpy.typing import NDArray

_PADDING_ENTRY = "madeupword"  # with a number: fairseq-preprocess fills up dictionaries with these
_SENTENCES_AT_ONCE = 1000

# the languages whose training text has a unit of a joint dictionary; special symbols have neither
SOURCE_ONLY, TARGET_ONLY, BOTH, NEITHER = "source only", "target only", "both", "neither"
SIDES = (SOURCE_ONLY, TARGET_ONLY, BOTH, NEITHER)

Band = tuple[int, int]  # first and last rank, from 1


def is_padding_entry(dictionary: Dictionary, row: int) -> bool:
    """Whether a row stands for no unit and only fills up the dictionary."""
    return dictionary.symbols[row].startswith(_PADDING_ENTRY) and not dictionary.count[row]


def frequency_order(dictionary: Dictionary) -> NDArray[np.int64]:
    """The rows of a dictionary without special symbols and padding, the most frequent first."""
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
    """How often each entry of a dictionary occurs in a text.

    Args:
        text: a dataset of fairseq's in one language, whose items are tensors of entries.
        rows: size of the dictionary.
    """
    counts = np.zeros(rows, dtype=np.int64)
    for first in range(0, len(text), _SENTENCES_AT_ONCE):
        some = range(first, min(first + _SENTENCES_AT_ONCE, len(text)))
        counts += np.bincount(torch.cat([text[i] for i in some]).numpy(), minlength=rows)
    return counts

"""What is changed in a line before anything else: only what a reader would not see.

Unicode NFC, white space of any kind to single spaces, control characters removed and, where Moses'
rules are to work on the line, the typographic apostrophe inside a word to the ASCII one (corpora
mix the two in the same words). The Moses punctuation normaliser is left out: it rewrites quotation
marks and numbers, which the raw references of a test set keep.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

NFC, CONTROL, APOSTROPHE = STEPS = ("NFC", "control", "apostrophe")

TYPOGRAPHIC = re.compile(r"(?<=[^\W\d_])’(?=[^\W\d_])")
ASCII = re.compile(r"(?<=[^\W\d_])'(?=[^\W\d_])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def normalise(line: str, steps: Collection[str] = STEPS) -> str:
    """``line`` with single spaces, and after ``steps``: those of ``STEPS`` that are to be taken."""
    if NFC in steps:
        line = unicodedata.normalize("NFC", line)
    line = " ".join(line.split())
    if CONTROL in steps and not line.isprintable():
        line = _CONTROL.sub("", line).strip()
    if APOSTROPHE in steps and "’" in line:
        line = TYPOGRAPHIC.sub("'", line)
    return line


def apostrophe_of(typographic: int, ascii: int) -> str:
    """The apostrophe that a text is written with, by how often it has each inside a word."""
    return "’" if typographic > ascii else "'"

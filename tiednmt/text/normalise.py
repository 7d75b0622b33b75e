"""Normalise a line before all other steps, changing only what a reader would not see.

Text is put into Unicode NFC, any white space becomes a single space, and control characters are
removed. For Moses' rules, the typographic apostrophe inside a word becomes the ASCII one, since
corpora mix the two in the same words. The Moses punctuation normaliser is not used: it rewrites
quotation marks and numbers, which the raw references of a test set keep.
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
    """``line`` with single spaces and after ``steps``, which are some of ``STEPS``."""
    if NFC in steps:
        line = unicodedata.normalize("NFC", line)
    line = " ".join(line.split())
    if CONTROL in steps and not line.isprintable():
        line = " ".join(_CONTROL.sub("", line).split())
    if APOSTROPHE in steps and "’" in line:
        line = TYPOGRAPHIC.sub("'", line)
    return line


def apostrophe_of(typographic: int, ascii: int) -> str:
    """The usual apostrophe of a text, by how often it has each kind inside a word."""
    return "’" if typographic > ascii else "'"

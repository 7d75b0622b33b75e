"""Scripts that do not separate words by spaces, and the length of their lines in words."""

from __future__ import annotations

import re

HAN_AND_KANA = (
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
THAI_AND_THE_LIKE = (  # also Lao, Tibetan, Burmese and Khmer
    "\u0e01-\u0eff\u0f40-\u0fbc\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"
)
UNSPACED_LETTERS = HAN_AND_KANA + THAI_AND_THE_LIKE
CJK_PUNCTUATION = "\u3001-\u303f\ufe30-\ufe4f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"

_VISIBLE = re.compile(
    "[^\\s\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]"
)
_ANY = re.compile(f"[{UNSPACED_LETTERS}]")
# Letters per word, roughly: a Chinese word has 1.5 characters, a Japanese one 2, a Thai one 4. The
# bounds on length and ratio are loose, so this is close enough.
_EACH = ((2, re.compile(f"[{HAN_AND_KANA}]")), (4, re.compile(f"[{THAI_AND_THE_LIKE}]")))
_SPACED = re.compile(rf"[^\s{UNSPACED_LETTERS}{CJK_PUNCTUATION}]+")


def visible(line: str) -> bool:
    """Whether a line has visible characters, not only white space and format characters."""
    return _VISIBLE.search(line) is not None


def words(line: str) -> float:
    """Number of words of a line, estimated where no spaces separate them.

    Everywhere else, words are what white space separates: the tokens of a tokenised line.
    """
    if line.isascii() or not _ANY.search(line):
        return len(line.split())
    estimated = sum(len(letters.findall(line)) / per_word for per_word, letters in _EACH)
    return max(1.0, len(_SPACED.findall(line)) + estimated)


def mostly_unspaced(line: str) -> bool:
    """Whether at least half of a line's letters belong to a script without spaces."""
    letters = sum(map(str.isalpha, line))
    return letters > 0 and 2 * sum(1 for _ in _ANY.finditer(line)) >= letters

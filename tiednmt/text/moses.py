"""Tokenise by Moses' rules (sacremoses), and turn tokens back into text.

The detokeniser is our own. It decides for every two neighbouring tokens whether they touch: by
what they are, and for quotation marks and apostrophes by weighing all readings of the line. What it
would guess wrong in names, addresses and symbols is marked when the text is tokenised: ``C++``
becomes ``C ￭+ ￭+``. Ordinary punctuation is never marked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from tiednmt.text.writing import CJK_PUNCTUATION, HAN_AND_KANA, UNSPACED_LETTERS

if TYPE_CHECKING:
    from sacremoses import MosesTokenizer

# Languages that have rules in sacremoses and separate words by spaces. Those of India are left out:
# their rules are new, and how well their text is restored has not been measured.
LANGUAGES = frozenset(
    re.findall(r"\w+", "ca cs de el en es et fi fr ga hu is it lt lv nl pl pt ro ru sk sl sv tdt")
)

JOINER = "￭"  # on the side of a token that touches its neighbour

# A word may need joiners if it has a symbol other than these, or is an address. These are placed by
# the rules below: corpora are careless with spaces before them, so tidying that is an improvement.
_UNUSUAL = re.compile(r"[^\w\s.,\-'\"();!&#?:`%$=/“„–”’‘«»°]|(?<=\w)#")
_ADDRESS = re.compile(r"://|\bwww\.|\.\.[^\W_]")
_ONLY_AT = re.compile(r"@+")


class MosesTokeniser:
    """Splits normalised lines into tokens.

    Args:
        language: a language code; its rules for apostrophes and abbreviations are used if
            sacremoses has any.
        joiners: mark what :func:`detokenise` would not restore, and do not split words at soft
            hyphens, zero-width joiners and combining marks.
    """

    def __init__(self, language: str, joiners: bool = True):
        self.language = language
        self.joiners = joiners
        self._moses = _moses(language, joiners)

    def __call__(self, line: str) -> str:
        """Space-separated tokens of a normalised line."""
        tokens = str(self._moses.tokenize(line, escape=False, return_str=True))
        if self.joiners and _needs_joiners(line):
            return " ".join(_marked(line, tokens.split(), self.language))
        return tokens


def _needs_joiners(text: str) -> bool:
    if _UNUSUAL.search(text):
        return True
    return ("://" in text or "www." in text or ".." in text) and bool(_ADDRESS.search(text))


def _moses(language: str, joiners: bool) -> MosesTokenizer:
    from sacremoses import MosesTokenizer

    tokeniser = MosesTokenizer(language)
    if joiners:
        within = tokeniser.IsAlnum + _within_words()
        tokeniser.PAD_NOT_ISALNUM = re.compile(_split_off(within)), r" \1 "
    return tokeniser


def _split_off(within: str) -> str:
    """A pattern for tokens of their own: a symbol and its modifiers, such as those of emoji."""
    more = (
        r"[\u0300-\u036f\u20d0-\u20ff\ufe00-\ufe0f\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff"
        r"\U000e0020-\U000e007f]"
    )
    return rf"([^{_ranges(within)}\s.'`,\-]{more}*(?:\u200d\S{more}*)*)"


@cache
def _within_words() -> str:
    """Characters at which sacremoses splits words although they belong to them.

    These are combining marks, format characters, ½ and the like, and letters that its tables lack,
    but not letters of scripts without spaces.
    """
    kinds = ("Cf", "Mn", "Mc", "No", "Lu", "Ll", "Lt", "Lm", "Lo")
    unspaced = re.compile(f"[{UNSPACED_LETTERS}]")
    return "".join(
        character
        for character in map(chr, range(0x80, 0x10000))
        if unicodedata.category(character) in kinds
        and not (unspaced.match(character) and unicodedata.category(character) == "Lo")
    )


def _ranges(characters: str) -> str:
    """The characters as ranges inside a character class, which is short."""
    numbers = sorted(set(map(ord, characters)))
    starts = [b for a, b in zip([-2, *numbers], numbers, strict=False) if b != a + 1]
    ends = [a for a, b in zip(numbers, [*numbers[1:], -2], strict=True) if b != a + 1]
    return "".join(
        f"{re.escape(chr(a))}-{re.escape(chr(b))}" for a, b in zip(starts, ends, strict=True)
    )


def _marked(line: str, tokens: list[str], language: str) -> list[str]:
    """The tokens, with joiners in the words that need them."""
    together = touching(tokens, language)
    marked, start = list(tokens), 0
    for word in line.split():
        end, length = start, 0
        while end < len(tokens) and length < len(word):
            length += len(tokens[end])
            end += 1
        if "".join(tokens[start:end]) != word:  # Moses has changed it
            return tokens
        if _needs_joiners(word) and not _ONLY_AT.fullmatch(word) and JOINER not in word:
            for index in range(start + 1, end):
                if not together[index]:
                    _mark(marked, index)
        start = end
    return marked


def _mark(tokens: list[str], index: int) -> None:
    """Join the token at ``index`` to the one before it, with the mark on a symbol if possible."""
    if tokens[index][0].isalnum():
        tokens[index - 1] += JOINER
    else:
        tokens[index] = JOINER + tokens[index]


# --- and back ------------------------------------------------------------------------------------


def detokenise(tokens: Sequence[str], language: str) -> str:
    """Turn tokens back into text."""
    bare = [token.strip(JOINER) or token for token in tokens]
    together = touching(bare, language)
    text = bare[:1]
    for index in range(1, len(bare)):
        joined = _ends_joined(tokens[index - 1]) or _begins_joined(tokens[index])
        text += [bare[index]] if joined or together[index] else [" ", bare[index]]
    return "".join(text)


def _begins_joined(token: str) -> bool:
    return token[0] == JOINER and len(token) > 1


def _ends_joined(token: str) -> bool:
    return token[-1] == JOINER and len(token) > 1


_CLOSING = re.compile(r"[,.?!:;\\%}\])…।॥]+")
_SPACED_IN_FRENCH = re.compile(r"[?!:;\\%]")
_OPENING = re.compile(r"[(\[{¿¡]+")
_ENTITY = re.compile(r"#\d+|amp|apos|gt|lt|quot")
_INITIALS = re.compile(r"[A-Z0-9]{1,2}|[a-z]")
_INITIAL = re.compile(r"[A-Z0-9a-z](?![A-Za-z0-9])|[A-Z](?![A-Za-z0-9])")
_CJK = re.compile(f"[{CJK_PUNCTUATION}]")
_HAN_OR_KANA = re.compile(f"[{HAN_AND_KANA}]")  # which Moses sets apart
_ELISION = re.compile(r"[^\W\d_]'")  # l' in French, dell' in Italian
_CONTRACTION = re.compile(r"'[^\W\d_]")
_ELIDING = ("fr", "it", "ga")


def touching(tokens: Sequence[str], language: str) -> list[bool]:
    """Whether each token touches the one before it, by the rules alone; False for the first."""
    before, after = [False] * len(tokens), [False] * len(tokens)  # touches the token before, after
    for index, token in enumerate(tokens):
        if token in _MARKS or not (token[0].isalnum() and token[-1].isalnum()):
            _set_symbol(tokens, index, language, before, after)
        elif index and _HAN_OR_KANA.match(token) and _HAN_OR_KANA.match(tokens[index - 1][-1]):
            before[index] = True
    _set_marks(tokens, language, before, after)
    for index in range(1, len(tokens)):
        if after[index - 1] or _is_tail(tokens, index, before):
            before[index] = True
    if before:
        before[0] = False
    return before


def _set_symbol(
    tokens: Sequence[str], index: int, language: str, before: list[bool], after: list[bool]
) -> None:
    """Set what a token touches if it is not a plain word; quotation marks are set elsewhere."""
    token = tokens[index]
    previous = tokens[index - 1] if index else ""
    following = tokens[index + 1] if index + 1 < len(tokens) else ""
    between = bool(previous and following)
    if _CJK.match(token[0]):
        before[index] = True
        after[index] = bool(_CJK.match(token[-1]))
    elif token == ":" and previous[-1:].isdigit() and following[:1].isdigit():
        before[index] = after[index] = True  # 11:27
    elif token == ":" and language in ("fi", "sv") and _is_case_ending(previous, following):
        before[index] = after[index] = True  # EU:n
    elif token == ";" and _ENTITY.fullmatch("".join(tokens[max(0, index - 2) : index])[-5:]):
        before[index] = True
    elif _CLOSING.fullmatch(token):
        before[index] = not (language == "fr" and _SPACED_IN_FRENCH.fullmatch(token))
    elif _OPENING.fullmatch(token):
        after[index] = True
    elif unicodedata.category(token[0]) == "Sc":
        after[index] = not previous[-1:].isdigit() or following[:1].isdigit()
    elif token == "#":
        after[index] = following[:1].isalnum() or following[:1] == "_"
    elif token == "/":
        before[index] = after[index] = between
    elif token == "_":
        before[index] = after[index] = between and previous[-1].isalnum() and following[0].isalnum()
    elif token == "°":
        before[index] = previous[-1:].isdigit()
        after[index] = following in ("C", "F")
    elif token == "@":
        before[index] = previous == "@"
    elif token == "&":
        _set_ampersand(tokens, index, before, after)
    elif language in _ELIDING and _ELISION.search(token[-2:]):
        after[index] = following[:1].isalpha()
    elif language == "en" and index and _CONTRACTION.match(token):
        before[index] = True


def _set_ampersand(
    tokens: Sequence[str], index: int, before: list[bool], after: list[bool]
) -> None:
    """Set what an ampersand touches: initials, as in ``M&S``, and the parts of an XML entity."""
    entity = re.match(r"(amp|apos|gt|lt|quot|# ?\d+) ;", " ".join(tokens[index + 1 : index + 4]))
    end = index + (len(entity[0].split()) if entity else 0)
    for inside in range(index, end):
        after[inside] = True
    if index > 0 and end + 1 < len(tokens):
        initials = _INITIALS.fullmatch(tokens[index - 1].rpartition("-")[2])
        before[index] = after[end] = bool(initials and _INITIAL.match(tokens[end + 1]))


def _is_case_ending(previous: str, following: str) -> bool:
    return (previous.isupper() or previous.isdigit()) and following.islower() and len(following) < 5


def _is_tail(tokens: Sequence[str], index: int, before: Sequence[bool]) -> bool:
    """Whether the token continues a closed quotation or bracket, as ``-Banner`` does ``„X“``."""
    token, previous = tokens[index], tokens[index - 1]
    closed = previous == ")" or (previous in _DOUBLE and before[index - 1])
    return len(token) > 1 and token[0] == "-" and token[1].isalnum() and closed


# --- quotation marks and apostrophes -------------------------------------------------------------

_DOUBLE = ('"', "„", "“", "”", "«", "»", "``", "''")
_FAMILIES = (('"', "``", "''"), ("„", "“", "”"), ("«", "»"), ("'", "`"), ("‚", "‘", "’"))
_MARKS = frozenset(mark for family in _FAMILIES for mark in family)
_SINGLE = ("'", "`", "‘", "’", "‚")
_WITH_APOSTROPHES = ("az", "be", "tr", "uk", "uz")  # languages that write them within words
_SUFFIXES = ("s", "t", "m", "re", "ve", "ll", "d", "n")
_SHORTENED = re.compile(r"em|til|tis|twas|cause|bout|round|\d\ds", re.IGNORECASE)
_PAUSE = re.compile(r"[.,!?]+")
_SAYING = re.compile(
    r"said|says?|told|ask(s|ed)|add(s|ed)|continued|wrote|writes|replied|answered|explained|tweeted"
)

_OPEN, _CLOSE = "open", "close"
_INSIDE, _LEADING, _TRAILING = "inside a word", "at its beginning", "at its end"
_NEVER = 9.0


def _set_marks(tokens: Sequence[str], language: str, before: list[bool], after: list[bool]) -> None:
    """Set which side of each quotation mark touches, by the most likely reading of the line."""
    for family in _FAMILIES:
        positions = [index for index, token in enumerate(tokens) if token in family]
        if not positions or (language == "fr" and family == ("«", "»")):
            continue
        single = family[0] in _SINGLE
        opened = single and len(tokens[0]) > 1 and tokens[0][0] in family
        doubled = [index for index in positions if index - 1 in positions and not single]
        positions = [index for index in positions if index not in doubled]
        for index, role in zip(
            positions, _likely_roles(tokens, positions, language, opened), strict=True
        ):
            before[index] = role not in (_OPEN, _LEADING)
            after[index] = role in (_OPEN, _INSIDE, _LEADING)
        for index in doubled:  # "" is one mark
            before[index], after[index] = True, after[index - 1]
            after[index - 1] = True


def _likely_roles(
    tokens: Sequence[str], positions: Sequence[int], language: str, opened: bool
) -> list[str]:
    """The cheapest sequence of roles, found in one pass over the marks (Viterbi).

    Args:
        tokens: of the line.
        positions: of the marks among them.
        language: of the line.
        opened: whether a quotation begins before the first mark.
    """
    # within a quotation or not → the cheapest path there
    paths: dict[bool, tuple[float, list[str]]] = {opened: (0.0, [])}
    if positions[0] == 0:  # as in dialogue; it may continue in the next paragraph and not be closed
        letter = tokens[0] in _SINGLE and tokens[1:2] and tokens[1] in _SUFFIXES  # 's avonds
        paths = {True: (0.0, [_OPEN]), False: (0.0 if letter else 0.6, [_OPEN])}
        positions = positions[1:]
    for index in positions:
        longer: dict[bool, tuple[float, list[str]]] = {}
        for within, (cost, roles) in paths.items():
            for role, more in _costs(tokens, index, within, language).items():
                now = role == _OPEN or (within and role != _CLOSE)
                if now not in longer or cost + more < longer[now][0]:
                    longer[now] = (cost + more, [*roles, role])
        paths = longer
    unclosed = 0.0 if opened else 0.9
    return min((cost + unclosed * within, roles) for within, (cost, roles) in paths.items())[1]


def _costs(tokens: Sequence[str], index: int, within: bool, language: str) -> dict[str, float]:
    """The cost of each role of the mark at ``index``, ``within`` a quotation or outside."""
    token = tokens[index]
    previous = tokens[index - 1] if index else ""
    following = tokens[index + 1] if index + 1 < len(tokens) else ""
    pause = bool(_PAUSE.fullmatch(previous))
    opening = 1.2 if within else 0.0
    closing = 0.0 if within else 1.0
    if not following or _CLOSING.fullmatch(following):
        opening += 3
    if not previous or _OPENING.fullmatch(previous):
        closing += 3
    opening += 0.3 * pause + 0.4 * (pause and following[:1].islower())
    closing += 0.6 * bool(previous == ":" or (pause and _SAYING.fullmatch(tokens[index - 2])))
    if token in ("„", "‚", "``"):
        closing = _NEVER
    elif token in ("”", "''") and language not in ("sv", "fi"):
        opening += 2
    costs: dict[str, float] = {}
    if token in _SINGLE:
        costs = _as_apostrophe(previous, following, language)
        ending, shortened = following in _SUFFIXES, _LEADING in costs
        opening += 0.5 * (_TRAILING in costs) + 0.5 * ending + 0.5 * shortened
        closing += 0.2 * (_INSIDE in costs and ending) + 0.5 * shortened
    elif previous[:1].isupper() and previous[-1] == "s":
        closing -= 0.2  # if none is open: the Lakers" game, a typo for s'
    return {**costs, _OPEN: opening, _CLOSE: closing}


def _as_apostrophe(previous: str, following: str, language: str) -> dict[str, float]:
    """The cost of each role that an apostrophe can have."""
    costs: dict[str, float] = {}
    if _SHORTENED.fullmatch(following):  # 'em, '90s
        costs[_LEADING] = 0.1
    if not previous or not (previous[-1].isalnum() or previous[-1] == "-"):
        return costs
    if following[:1].isalnum() or following[:1] == "-":
        costs[_INSIDE] = _cost_inside(previous, following, language)
    if previous[-1] in "sSxXzZß" or previous[-1].isdigit() or language == "it":
        costs[_TRAILING] = 0.1 if previous[0].isupper() else 0.3  # Waters' house, 4', un po'
    return costs


def _cost_inside(previous: str, following: str, language: str) -> float:
    """The cost of an apostrophe inside a word; it is high where Moses would not have split it."""
    if language in ("en", *_ELIDING) and following[:1].isalpha():
        return 0.1 if following in _SUFFIXES and following != "n" else 2.0
    if following in _SUFFIXES or previous in _SUFFIXES or len(previous) == 1:
        return 0.1
    return 0.1 if language in _WITH_APOSTROPHES else 0.6

"""Which script a letter is of, as Unicode's property says (Standard Annex 24)."""

from __future__ import annotations

from functools import cache
from typing import Any

COMMON = "Common"  # of letters that several scripts use, such as µ and the Japanese sign of length
OTHER = "Other"
# those in use, and those of old texts that corpora have
NAMES = (
    "Adlam Arabic Armenian Avestan Balinese Bamum Batak Bengali Bopomofo Buginese"
    " Canadian_Aboriginal Chakma Cham Cherokee Coptic Cuneiform Cyrillic Devanagari"
    " Egyptian_Hieroglyphs Ethiopic Georgian Glagolitic Gothic Greek Gujarati Gurmukhi Han Hangul"
    " Hanifi_Rohingya Hanunoo Hebrew Hiragana Javanese Kannada Katakana Kayah_Li Khmer Lao Latin"
    " Lepcha Limbu Linear_B Lisu Malayalam Mandaic Meetei_Mayek Miao Mongolian Myanmar New_Tai_Lue"
    " Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Oriya Osage Pahawh_Hmong Phags_Pa"
    " Phoenician Rejang Runic Samaritan Saurashtra Sinhala Sundanese Syloti_Nagri Syriac Tagalog"
    " Tagbanwa Tai_Le Tai_Tham Tai_Viet Tamil Tangut Telugu Thaana Thai Tibetan Tifinagh Vai Wancho"
    " Yi"
)


@cache
def script_of(letter: str) -> str:
    """The script of a letter: a name of Unicode's, or ``Other``; empty of what is no letter."""
    found = _scripts().fullmatch(letter)
    return str(found.lastgroup) if found else ""


@cache
def _scripts() -> Any:
    """The pattern of a letter, whose last group is called as its script."""
    import regex

    known = "|".join(rf"(?P<{name}>\p{{Script={name}}})" for name in (*NAMES.split(), COMMON))
    return regex.compile(rf"(?=\p{{L}})(?:{known}|(?P<{OTHER}>.))")

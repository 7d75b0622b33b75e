"""What surgery needs to know of how raw text is segmented into the units of a model."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from tiednmt.errors import UserError
from tiednmt.text.subwords import SENTENCEPIECE_SPACE, SEPARATOR


class Segmentation(Protocol):
    """What surgery needs to know: how text is segmented."""

    def language(self, path: Path) -> str:
        """The language of a file of raw text, by its name; empty if all are segmented alike.

        Raises:
            UserError: the name does not say it.
        """

    def units(self, line: str, language: str) -> list[str]:
        """The units of a line of raw text."""

    def tokens(self, line: str, language: str) -> list[str]:
        """The tokens of a line, each of which is segmented by itself."""

    def units_of_token(self, token: str, language: str) -> list[str]:
        """The units of a token."""

    def trimmed(self, kept: Collection[str], tokens: Iterable[str]) -> Segmentation:
        """The segmentation with only some units, which segments these tokens as before."""

    def parts_of(self, unit: str, known: Collection[str]) -> list[str]:
        """The units of ``known`` that a unit was split into before it was merged, if it was."""

    def spelled(self, unit: str, known: Collection[str]) -> list[str]:
        """The units of ``known`` that any string is split into, if it is."""


class WhiteSpace:
    """Units separated by white space: segmented text, or text for a model of words."""

    def language(self, path: Path) -> str:
        """See :class:`Segmentation`."""
        return ""

    def units(self, line: str, language: str) -> list[str]:
        """See :class:`Segmentation`."""
        return line.split()

    tokens = units

    def units_of_token(self, token: str, language: str) -> list[str]:
        """See :class:`Segmentation`."""
        return [token]

    def trimmed(self, kept: Collection[str], tokens: Iterable[str]) -> WhiteSpace:
        """See :class:`Segmentation`."""
        return self

    def parts_of(self, unit: str, known: Collection[str]) -> list[str]:
        """See :class:`Segmentation`; nothing is split."""
        return []

    spelled = parts_of


def is_character(unit: str) -> bool:
    """Whether a unit is a single character, anywhere in a word."""
    return len(unit.removesuffix(SEPARATOR).removeprefix(SENTENCEPIECE_SPACE)) <= 1


def language_of(path: Path, languages: Sequence[str]) -> str:
    """The language that the name of a file gives, as in ``train.en``.

    Raises:
        UserError: the name gives none of ``languages``, or more than one.
    """
    parts = set(re.split(r"[^A-Za-z0-9_]", path.name.lower()))
    named = [language for language in languages if language.lower() in parts]
    if len(named) != 1:
        raise UserError(
            f"{path}: cannot tell its language; put one of {', '.join(languages)} into the name of "
            f"the file, such as text.{languages[0]}"
        )
    return named[0]

"""Which pairs of tokenised lines are not to be trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from preprocess.bitext import Pair
from tiednmt.errors import UserError

SCRIPTS = {"de": "Latin", "en": "Latin", "fr": "Latin"}


@dataclass(frozen=True)
class Filters:
    """Bounds on a pair; ``languages``, where given, whose script each side must be written in.

    ``max_length`` counts tokens, ``max_ratio`` bounds the longer side of a pair over the shorter.
    A side passes where at least half of its letters are of its language's script.

    Raises:
        UserError: where the script of a language is not known.
    """

    max_length: int
    max_ratio: float
    languages: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        for language in self.languages or ():
            if language not in SCRIPTS:
                raise UserError(
                    f"--check-script: the script of {language} is not known;"
                    " add it to preprocess/filters.py or leave the option out"
                )

    @property
    def reasons(self) -> list[str]:
        """Everything that :meth:`fault` may answer."""
        return ["empty", "over_long", "ratio", *(["script"] if self.languages else [])]

    def fault(self, pair: Pair) -> str | None:
        """Why a pair is to be dropped; None where it is not."""
        shorter, longer = sorted(len(line.split()) for line in pair)
        if shorter == 0:
            return "empty"
        if longer > self.max_length:
            return "over_long"
        if longer > self.max_ratio * shorter:
            return "ratio"
        for line, language in zip(pair, self.languages or (), strict=False):
            if not written_in(SCRIPTS[language], line):
                return "script"
        return None


def written_in(script: str, line: str) -> bool:
    """Whether at least half of the letters are of ``script``, as Unicode names it."""
    return 2 * len(_letters(script).findall(line)) >= len(_letters().findall(line))


@cache
def _letters(script: str | None = None) -> Any:
    """The pattern of a letter, of a script where one is named."""
    import regex

    return regex.compile(rf"[\p{{L}}&&\p{{{script}}}]" if script else r"\p{L}", regex.V1)

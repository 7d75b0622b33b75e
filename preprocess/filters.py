"""Which pairs of tokenised lines are not to be trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from preprocess.letters import script_of
from preprocess.pairs import Pair
from tiednmt.errors import UserError
from tiednmt.text.pipeline import base_language
from tiednmt.text.writing import visible, words

_LANGUAGES = {
    "Arabic": "ar fa ps ur",
    "Armenian": "hy",
    "Bengali": "as bn",
    "Cyrillic": "be bg kk ky mk mn ru tg uk",
    "Devanagari": "hi mr ne",
    "Ethiopic": "am",
    "Georgian": "ka",
    "Greek": "el",
    "Gujarati": "gu",
    "Gurmukhi": "pa",
    "Han": "yue zh",
    "Hebrew": "he",
    "Kannada": "kn",
    "Khmer": "km",
    "Lao": "lo",
    "Latin": "ca cs da de en es et eu fi fr ga gl hr hu id is it lt lv ms mt nb nl nn no pl pt ro"
    " sk sl sq sv sw tdt tr uz vi",
    "Malayalam": "ml",
    "Myanmar": "my",
    "Sinhala": "si",
    "Tamil": "ta",
    "Telugu": "te",
    "Thai": "th",
    "Tibetan": "bo",
}
SCRIPTS = {code: (script,) for script, codes in _LANGUAGES.items() for code in codes.split()} | {
    "ja": ("Han", "Hiragana", "Katakana"),
    "ko": ("Hangul", "Han"),
    "sr": ("Cyrillic", "Latin"),
}


@dataclass(frozen=True)
class Filters:
    """Bounds on a pair; ``languages``, where given, whose script each side must be written in.

    ``max_length`` counts words or tokens, estimated where a script does not set them apart (see
    :func:`tiednmt.text.writing.words`), ``max_ratio`` bounds the longer side of a pair over the
    shorter. A side passes where at least half of its letters are of its language's script.

    Raises:
        UserError: the script of a language is not known.
    """

    max_length: int
    max_ratio: float
    languages: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        for language in self.languages or ():
            if base_language(language) not in SCRIPTS:
                raise UserError(
                    f"--check-script: the script of {language} is not known;"
                    " add it to preprocess/filters.py or leave the option out"
                )

    @property
    def reasons(self) -> list[str]:
        """Everything that :meth:`fault` may answer."""
        return ["empty", "over_long", "ratio", *(["script"] if self.languages else [])]

    def fault(self, pair: Pair) -> str | None:
        """Why a pair is to be dropped; None if it is not."""
        if not all(map(visible, pair)):
            return "empty"
        shorter, longer = sorted(map(words, pair))
        if longer > self.max_length:
            return "over_long"
        if longer > self.max_ratio * shorter:
            return "ratio"
        for line, language in zip(pair, self.languages or (), strict=False):
            if not written_in(SCRIPTS[base_language(language)], line):
                return "script"
        return None


def written_in(scripts: Sequence[str], line: str) -> bool:
    """Whether at least half of the letters are of ``scripts``, as Unicode names them."""
    letters = of_these = 0
    for character, number in Counter(line).items():
        if script := script_of(character):
            letters += number
            of_these += number * (script in scripts)
    return 2 * of_these >= letters

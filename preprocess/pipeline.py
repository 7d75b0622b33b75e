"""Raw text to subword units and back: the one definition that preparing and scoring share.

Raw line → normalised → tokenised (Moses rules, sacremoses) → subword units (subword-nmt), and the
same way back. With sentencepiece there is no tokeniser: the model works on the normalised line.

Normalisation changes only what a reader would not see: Unicode NFC, white space of any kind to
single spaces, control characters removed, the typographic apostrophe inside a word to the ASCII
one (corpora mix the two in the same words). The Moses punctuation normaliser is left out: it
rewrites quotation marks and numbers, which the raw references of a test set keep.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocess.manifest import read_manifest
from tiednmt.errors import UserError

if TYPE_CHECKING:
    from sacremoses import MosesDetokenizer, MosesTokenizer

SEPARATOR = "@@"
SENTENCEPIECE_SPACE = "▁"
SUBWORD_METHODS = ("subword-nmt", "sentencepiece")
CACHED_WORDS = 100_000  # of each language, about 30 MB

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TYPOGRAPHIC_APOSTROPHE = re.compile(r"(?<=[^\W\d_])’(?=[^\W\d_])")
_MERGE = re.compile(r"@@( |$)")

# What the Moses detokeniser leaves apart though text writes it together.
_REPAIRS = [
    (re.compile(r"& (#\d+|amp|apos|gt|lt|quot);"), r"&\1;"),
    (re.compile(r"([\"“”»]) -(?=\w)"), r"\1-"),  # „X“-Banner
    (re.compile(r"(?<=\S) / (?=\S)"), "/"),
    (re.compile(r"# (?=\w)"), "#"),
    (re.compile(r"(?<=\d) ?: (?=\d)"), ":"),
]
_GERMAN_REPAIRS = [(re.compile(r"(?<=\w) '(s|t|m|re|ve|ll|d)\b"), r"'\1")]


def normalise(line: str) -> str:
    """``line`` in NFC, with single spaces, without control characters and with one apostrophe."""
    line = _CONTROL.sub("", " ".join(unicodedata.normalize("NFC", line).split()))
    return _TYPOGRAPHIC_APOSTROPHE.sub("'", line).strip()


def tokenise(line: str, tokeniser: MosesTokenizer) -> str:
    """Raw line → normalised, space-separated tokens by the Moses rules."""
    return str(tokeniser.tokenize(normalise(line), escape=False, return_str=True))


class _BoundedCache(dict[str, tuple[str, ...]]):
    """The units of words seen of late: forgets all when full, so that memory is bounded."""

    def __setitem__(self, word: str, units: tuple[str, ...]) -> None:
        if len(self) >= CACHED_WORDS:
            self.clear()
        super().__setitem__(word, units)


class TextPipeline:
    """Encodes and decodes the two languages of a prepared folder.

    Cheap to make and to pickle: tokenisers and subword models are loaded at first use.

    Args:
        folder: the ``bpe`` folder, with ``codes`` and ``vocab.<language>`` of subword-nmt or with
            ``sentencepiece.model``.
        threshold: units seen fewer times than this in a language's training text are split further
            in that language (subword-nmt only).
    """

    def __init__(self, source: str, target: str, method: str, folder: Path, threshold: int):
        self.source = source
        self.target = target
        self.method = method
        self.folder = folder
        self.threshold = threshold

    @classmethod
    def load(cls, prepared: Path) -> TextPipeline:
        """The pipeline of a prepared folder, read from its manifest.

        Raises:
            UserError: where the folder is not a prepared one.
        """
        manifest = read_manifest(prepared)
        options = manifest["options"]
        return cls(
            manifest["source"],
            manifest["target"],
            options["bpe"],
            Path(prepared) / "bpe",
            options["vocabulary_threshold"],
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return TextPipeline, (self.source, self.target, self.method, self.folder, self.threshold)

    def tokenise(self, line: str, language: str) -> str:
        """Raw line → normalised, space-separated tokens (no tokeniser under sentencepiece)."""
        if self.method == "sentencepiece":
            return normalise(line)
        return tokenise(line, self._tokenisers[language])

    def segment(self, tokens: str, language: str) -> str:
        """The outcome of :meth:`tokenise` → space-separated subword units."""
        if self.method == "sentencepiece":
            return " ".join(self._sentencepiece.encode(tokens, out_type=str))
        return str(self._segmenters[language].segment(tokens))

    def encode(self, line: str, language: str) -> str:
        """Raw line → space-separated subword units, as they stand in the ``bpe`` folder."""
        return self.segment(self.tokenise(line, language), language)

    def decode(self, units: str, language: str) -> str:
        """Space-separated subword units → raw text.

        Raises:
            UserError: where marks of subword segmentation are left in the outcome.
        """
        if self.method == "sentencepiece":
            mark = SENTENCEPIECE_SPACE
            text = str(self._sentencepiece.decode_pieces(units.split())).strip()
        else:
            mark = SEPARATOR
            text = self._detokenise(_MERGE.sub("", units.strip()), language)
        if mark in text:
            raise UserError(
                f"subword marks ({mark}) are left in the text, which would falsify its score: "
                f"{text[:100]!r}; pass the units exactly as the model wrote them"
            )
        return text

    def _detokenise(self, tokens: str, language: str) -> str:
        text = self._detokenisers[language].detokenize(tokens.split(), unescape=False)
        for pattern, replacement in _REPAIRS + (_GERMAN_REPAIRS if language == "de" else []):
            text = pattern.sub(replacement, text)
        return str(text)

    @cached_property
    def _tokenisers(self) -> dict[str, MosesTokenizer]:
        from sacremoses import MosesTokenizer

        return {language: MosesTokenizer(language) for language in (self.source, self.target)}

    @cached_property
    def _detokenisers(self) -> dict[str, MosesDetokenizer]:
        from sacremoses import MosesDetokenizer

        return {language: MosesDetokenizer(language) for language in (self.source, self.target)}

    @cached_property
    def _segmenters(self) -> dict[str, Any]:
        from subword_nmt.apply_bpe import BPE, read_vocabulary

        segmenters = {}
        for language in (self.source, self.target):
            vocabulary = self.folder / f"vocab.{language}"
            with (
                open(self.folder / "codes", encoding="utf-8", newline="\n") as codes,
                open(vocabulary, encoding="utf-8", newline="\n") as units,
            ):
                segmenter = BPE(
                    codes, separator=SEPARATOR, vocab=read_vocabulary(units, self.threshold)
                )
                segmenter.cache = _BoundedCache()
                segmenters[language] = segmenter
        return segmenters

    @cached_property
    def _sentencepiece(self) -> Any:
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_file=str(self.folder / "sentencepiece.model"))

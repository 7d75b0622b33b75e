"""Subword units: of tokens by subword-nmt's byte-pair encoding, or of lines by sentencepiece."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tiednmt.errors import UserError
from tiednmt.text.counts import read_counts

if TYPE_CHECKING:
    from subword_nmt.apply_bpe import BPE

CODES, PIECES = "codes", "sentencepiece.model"  # the files of the two kinds
SEPARATOR = "@@"
SENTENCEPIECE_SPACE = "▁"
CACHED_WORDS = 100_000  # per language, about 30 MB

MARKED_LINES = 0.1  # a text with a larger share of lines with marks counts as segmented

_MERGE = re.compile(r"@@( |$)")
_ANY_MARK = re.compile(rf"{SEPARATOR}(?= |$)|{SENTENCEPIECE_SPACE}")
UNKNOWN = "<unk>"
_RESERVED = frozenset(("<s>", "<pad>", "</s>", UNKNOWN))  # fairseq's special symbols
_ESCAPE = "\uf581"  # a private-use character, which ordinary text does not have
_ESCAPED = {SENTENCEPIECE_SPACE: _ESCAPE + "1", _ESCAPE: _ESCAPE + "0"}
_TO_ESCAPE = re.compile(f"[{SENTENCEPIECE_SPACE}{_ESCAPE}]")
_TO_UNESCAPE = re.compile(f"{_ESCAPE}([01])")


class _BoundedCache(dict[str, tuple[str, ...]]):
    """The units of recent words. It is emptied when it is full, so that memory is bounded."""

    def __setitem__(self, word: str, units: tuple[str, ...]) -> None:
        if len(self) >= CACHED_WORDS:
            self.clear()
        super().__setitem__(word, units)


class BytePairs:
    """Tokens to units of one language and back, by the merges (codes) of subword-nmt.

    Args:
        codes: the file of merges.
        vocabulary: the file of the language's units and their counts.
        threshold: units with a lower count are split further.

    Raises:
        UserError: a file is missing or damaged.
    """

    def __init__(self, codes: Path, vocabulary: Path, threshold: int):
        self._bpe = load_codes(codes, _frequent_units(vocabulary, threshold))

    def segment(self, tokens: str) -> str:
        """Space-separated tokens → space-separated units."""
        return str(self._bpe.segment(tokens))

    def draw(self, tokens: str, dropout: float, seed: int) -> str:
        """:meth:`segment` with BPE-dropout; see :meth:`TextPipeline.drawn`."""
        from subword_nmt import apply_bpe

        known, self._bpe.cache = self._bpe.cache, {}  # it would remember what was drawn
        apply_bpe.random = random.Random(seed)  # other threads may draw from the process's own
        try:
            return str(self._bpe.segment(tokens, dropout))
        finally:
            apply_bpe.random, self._bpe.cache = random, known

    @staticmethod
    def join(units: str) -> str:
        """Space-separated units → space-separated tokens.

        Raises:
            UserError: marks of segmentation remain.
        """
        bare = (unit.removesuffix(SEPARATOR) for unit in units.split())
        _refuse_mark(SEPARATOR, " ".join(bare))  # two units may still give one: @@@ and @
        return _MERGE.sub("", units.strip())


def load_codes(codes: Path, vocabulary: set[str] | None = None) -> BPE:
    """The segmenter of a file of merges; if ``vocabulary`` is given, it yields only those units.

    Raises:
        UserError: the file is missing or damaged.
    """
    from subword_nmt.apply_bpe import BPE

    try:
        with open(codes, encoding="utf-8", newline="\n") as file:
            segmenter = BPE(file, separator=SEPARATOR, vocab=vocabulary)
    except FileNotFoundError:
        raise _no_such_file(codes) from None
    except (ValueError, IndexError, SystemExit):  # subword-nmt exits at a line that is no merge
        raise _damaged(codes, "not merges of subword-nmt") from None
    segmenter.cache = _BoundedCache()
    return segmenter


def vocabulary_file(folder: Path, language: str) -> Path:
    """The file of a language's units and their counts, beside the codes or pieces."""
    return folder / f"vocab.{language}"


def vocabulary_files(folder: Path) -> dict[str, Path]:
    """Those files of all languages, by language."""
    return {path.name.removeprefix("vocab."): path for path in sorted(folder.glob("vocab.*"))}


def _frequent_units(vocabulary: Path, threshold: int) -> set[str]:
    if not vocabulary.is_file():
        raise _no_such_file(vocabulary)
    return {unit for unit, count in read_counts(vocabulary) if count >= threshold}


class SentencePiece:
    """Lines to pieces and back.

    Args:
        model: the file of sentencepiece's model.
        vocabulary: the file of a language's pieces and their counts; None allows all pieces.
        threshold: pieces with a lower count are split further, except single characters.
        escapes: restore ``▁`` in raw text; a private-use character stands for it.

    Raises:
        UserError: a file is missing or damaged.
    """

    def __init__(
        self,
        model: Path,
        vocabulary: Path | None = None,
        threshold: int = 0,
        escapes: bool = True,
    ):
        from sentencepiece import SentencePieceProcessor

        if not model.is_file():
            raise _no_such_file(model)
        try:
            self._processor = SentencePieceProcessor(model_file=str(model))
        except (RuntimeError, OSError):
            raise _damaged(model, "not a model of sentencepiece") from None
        self._escapes = escapes
        self._parts: dict[str, list[str]] = {}  # what pieces that may not be used are split into
        if escapes:
            self._parts = {piece: list(piece) for piece in _RESERVED}
        if vocabulary is not None:
            self._split_all_but(_frequent_units(vocabulary, threshold))

    @property
    def pieces(self) -> list[str]:
        """All pieces of the model in the order of the merges, single characters at the end."""
        return [self._processor.id_to_piece(i) for i in range(self._processor.get_piece_size())]

    def segment(self, line: str) -> str:
        """An escaped line → space-separated pieces, none of them a special symbol of fairseq."""
        return self._allowed(self._processor.encode(line, out_type=str))

    def draw(self, line: str, dropout: float, seed: int) -> str:
        """:meth:`segment` with BPE-dropout; see :meth:`TextPipeline.drawn`."""
        from sentencepiece import set_random_generator_seed

        set_random_generator_seed(seed)
        pieces = self._processor.encode(
            line, out_type=str, enable_sampling=True, alpha=dropout, nbest_size=-1
        )
        return self._allowed(pieces)

    def _allowed(self, pieces: list[str]) -> str:
        if not self._parts.keys().isdisjoint(pieces):
            pieces = [part for piece in pieces for part in self._parts.get(piece, [piece])]
        return " ".join(pieces)

    def _split_all_but(self, vocabulary: set[str]) -> None:
        """Split all pieces of several characters that are not in ``vocabulary``."""
        ranks = merge_ranks(self.pieces)
        for piece in ranks:
            if len(piece) > 1 and piece not in vocabulary and piece not in _RESERVED:
                self._parts[piece] = split_piece(piece, ranks, vocabulary)

    def join(self, units: str) -> str:
        """Space-separated pieces → a line, in which an unknown piece is ``<unk>``.

        Raises:
            UserError: marks of segmentation remain.
        """
        # as one piece, sentencepiece would write it as " ⁇ "
        pieces = units.replace(UNKNOWN, f"{UNKNOWN[0]} {UNKNOWN[1:]}").split()
        text = str(self._processor.decode_pieces(pieces)).strip()
        _refuse_mark(SENTENCEPIECE_SPACE, text)
        return unescape(text) if self._escapes else text


def merge_ranks(pieces: Sequence[str]) -> dict[str, int]:
    """When each piece of a model was merged; single characters come first, with rank 0.

    Args:
        pieces: all pieces, in the order of the model.
    """
    return {piece: 0 if len(piece) == 1 else i for i, piece in enumerate(pieces)}


def halves(piece: str, ranks: Mapping[str, int]) -> tuple[str, str] | None:
    """The two pieces that a piece is split into; None if it cannot be split.

    Of all ways to split it into two pieces, it is the one whose later piece was merged first. New
    merges must agree with this, or their pieces would be split into others than they were made of.
    """
    ways = ((piece[:middle], piece[middle:]) for middle in range(1, len(piece)))
    known = [way for way in ways if way[0] in ranks and way[1] in ranks]
    return min(known, key=lambda way: max(ranks[way[0]], ranks[way[1]]), default=None)


def split_piece(piece: str, ranks: Mapping[str, int], kept: Collection[str]) -> list[str]:
    """A piece split into :func:`halves` until all parts are in ``kept`` or single characters."""
    if piece in kept:
        return [piece]
    pair = halves(piece, ranks)
    if pair is None:
        return list(piece)
    return [part for half in pair for part in split_piece(half, ranks, kept)]


def looks_segmented(lines: Sequence[str]) -> bool:
    """Whether a text is split into units; raw text may also contain the marks, but in few lines."""
    marked = sum(_ANY_MARK.search(line) is not None for line in lines)
    return marked > MARKED_LINES * len(lines)


def escape(line: str) -> str:
    """The line with ``▁`` escaped, so that it is not taken for a space."""
    return _TO_ESCAPE.sub(lambda match: _ESCAPED[match[0]], line)


def unescape(line: str) -> str:
    """The inverse of :func:`escape`."""
    return _TO_UNESCAPE.sub(lambda match: SENTENCEPIECE_SPACE if match[1] == "1" else _ESCAPE, line)


def _refuse_mark(mark: str, text: str) -> None:
    if mark in text:
        raise UserError(
            f"subword marks ({mark}) remain in the text, which would distort its score: "
            f"{text[:100]!r}; pass the units exactly as the model wrote them"
        )


def _no_such_file(path: Path) -> UserError:
    return UserError(f"{path}: no such file; prepare the corpus to the end first")


def _damaged(path: Path, lack: str) -> UserError:
    return UserError(f"{path}: damaged ({lack}); copy it again or prepare the corpus again")

"""Subwords of lines, by a model of sentencepiece."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tiednmt.errors import UserError
from tiednmt.text.bpe import Symbols
from tiednmt.text.pipeline import TextSettings
from tiednmt.text.subwords import PIECES, SENTENCEPIECE_SPACE, halves, merge_ranks, split_piece
from tiednmt.vocabulary.subwords import Subwords, read_vocabularies

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

_BPE_MODEL = 2  # sentencepiece's number for the model type BPE
_NORMAL = 1  # its number for pieces of type NORMAL


@dataclass(frozen=True)
class SentencePieceSubwords(Subwords):
    """See :class:`Subwords`; a line is segmented at once.

    Attributes:
        model: serialised.
    """

    model: bytes = b""

    @classmethod
    def read(cls, folder: Path, settings: TextSettings) -> SentencePieceSubwords:
        """See :class:`Subwords`."""
        return cls(settings, read_vocabularies(folder), (folder / PIECES).read_bytes())

    def _write_merges(self, folder: Path) -> None:
        (folder / PIECES).write_bytes(self.model)

    # --- use -----------------------------------------------------------------------------------

    def tokens(self, line: str, language: str) -> list[str]:
        """See :class:`Subwords`: the whole line."""
        return [self._pipelines[language].tokenise(line, language)]

    @cached_property
    def _unbound(self) -> SentencePieceProcessor:
        """The segmenter without a list of allowed units."""
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_proto=self.model)

    def merged(self, token: str) -> list[str]:
        """See :class:`Subwords`."""
        return [str(piece) for piece in self._unbound.encode(token, out_type=str)]

    written = merged

    def words_of(self, token: str) -> Iterator[tuple[str, ...]]:
        """See :class:`Subwords`: those of a line."""
        word: list[str] = []
        for symbol in self.merged(token):
            if symbol.startswith(SENTENCEPIECE_SPACE) and word:
                yield tuple(word)
                word = []
            word.append(symbol)
        if word:
            yield tuple(word)

    def parts_of(self, unit: str, known: Collection[str]) -> list[str]:
        """See :class:`Subwords`."""
        return [unit] if unit in known else split_piece(unit, self._ranks, known)

    def spelled(self, unit: str, known: Collection[str]) -> list[str]:
        """See :class:`Subwords`."""
        symbols = self.merged(unit.removeprefix(SENTENCEPIECE_SPACE))
        if not unit.startswith(SENTENCEPIECE_SPACE):  # sentencepiece put one before the line
            first = symbols[0].removeprefix(SENTENCEPIECE_SPACE)
            symbols = [*([first] if first else []), *symbols[1:]]
        return [part for symbol in symbols for part in self.parts_of(symbol, known)]

    @property
    def _pieces(self) -> list[str]:
        return [self._unbound.id_to_piece(i) for i in range(self._unbound.get_piece_size())]

    @cached_property
    def _ranks(self) -> dict[str, int]:
        return merge_ranks(self._pieces)

    # --- smaller and larger --------------------------------------------------------------------

    def _with_merges_to(self, units: object, tokens: object) -> SentencePieceSubwords:
        return self  # as it is: its pieces take no rows, and ``vocabularies`` decide

    def _with_characters_of(self, tokens: Iterable[str]) -> SentencePieceSubwords:
        # sentencepiece makes one piece of a run of characters that it does not know
        missing = sorted({*"".join(tokens)} - {*self._pieces, " "})
        return replace(self, model=_with_pieces(self.model, missing)) if missing else self

    def _fitness(self) -> Callable[[Symbols], bool]:
        ranks = dict(self._ranks)

        def is_fit(pair: Symbols) -> bool:
            piece = "".join(pair)
            if piece in ranks or halves(piece, ranks) != pair:  # else it would be split otherwise
                return False
            ranks[piece] = len(ranks)
            return True

        return is_fit

    def _with_merges(self, learnt: Sequence[Symbols]) -> SentencePieceSubwords:
        return replace(self, model=_with_pieces(self.model, ["".join(pair) for pair in learnt]))


def _with_pieces(model: bytes, pieces: Sequence[str]) -> bytes:
    """A sentencepiece model with further pieces, which are merged after all others."""
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError:
        raise UserError(
            "to add pieces to a sentencepiece model, pip install protobuf; or name the new units "
            "with --symbols"
        ) from None
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    if proto.trainer_spec.model_type != _BPE_MODEL:
        raise UserError(
            "only sentencepiece models of type BPE can be continued, and this one has another "
            "type; name the new units with --symbols"
        )
    least = min(piece.score for piece in proto.pieces)
    for number, piece in enumerate(pieces, start=1):
        proto.pieces.add(piece=piece, score=least - number, type=_NORMAL)
    proto.trainer_spec.vocab_size = len(proto.pieces)
    return bytes(proto.SerializeToString())

"""Subwords of tokens, by the merges of subword-nmt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from tiednmt.text.bpe import END_OF_WORD, Symbols, codes_of, read_codes, write_codes
from tiednmt.text.pipeline import TextSettings
from tiednmt.text.subwords import CODES, SEPARATOR
from tiednmt.vocabulary.subwords import Subwords, read_vocabularies

if TYPE_CHECKING:
    from subword_nmt.apply_bpe import BPE


@dataclass(frozen=True)
class BytePairSubwords(Subwords):
    """See :class:`Subwords`.

    Attributes:
        merges: in their order.
    """

    merges: Sequence[Symbols] = ()

    @classmethod
    def read(cls, folder: Path, settings: TextSettings) -> BytePairSubwords:
        """See :class:`Subwords`."""
        return cls(settings, read_vocabularies(folder), read_codes(folder / CODES))

    def _write_merges(self, folder: Path) -> None:
        write_codes(folder / CODES, self.merges)

    # --- use -----------------------------------------------------------------------------------

    def tokens(self, line: str, language: str) -> list[str]:
        """See :class:`Subwords`: the tokens of a line."""
        return self._pipelines[language].tokenise(line, language).split()

    @cached_property
    def _unbound(self) -> BPE:
        """The segmenter without a list of allowed units."""
        from subword_nmt.apply_bpe import BPE

        return BPE(StringIO(codes_of(self.merges)), separator=SEPARATOR)

    def merged(self, token: str) -> list[str]:
        """See :class:`Subwords`."""
        return [_symbol(unit) for unit in str(self._unbound.segment(token)).split()]

    def written(self, token: str) -> list[str]:
        """See :class:`Subwords`."""
        symbols = self.merged(token)
        return [*(s + SEPARATOR for s in symbols[:-1]), symbols[-1].removesuffix(END_OF_WORD)]

    def words_of(self, token: str) -> Iterator[tuple[str, ...]]:
        """See :class:`Subwords`: the token itself."""
        yield tuple(self.merged(token))

    def parts_of(self, unit: str, known: Collection[str]) -> list[str]:
        """See :class:`Subwords`."""
        if unit in known:
            return [unit]
        reverse = self._merged_from

        def split(symbol: str) -> list[str]:
            name = symbol.removesuffix(END_OF_WORD)
            whole = name if symbol.endswith(END_OF_WORD) else name + SEPARATOR
            if whole in known or symbol not in reverse:
                return [whole]
            return [part for half in reverse[symbol] for part in split(half)]

        symbol = _symbol(unit)
        return split(symbol) if symbol in reverse else [unit]

    @cached_property
    def _merged_from(self) -> dict[str, Symbols]:
        """What each merged symbol was made of; the first merge to make it counts."""
        return {"".join(pair): pair for pair in reversed(self.merges)}

    def spelled(self, unit: str, known: Collection[str]) -> list[str]:
        """See :class:`Subwords`."""
        end = SEPARATOR if unit.endswith(SEPARATOR) else ""
        *body, last = self.written(unit.removesuffix(SEPARATOR))
        return [part for each in (*body, last + end) for part in self.parts_of(each, known)]

    # --- smaller and larger --------------------------------------------------------------------

    def _with_merges_to(self, units: Collection[str], tokens: Iterable[str]) -> BytePairSubwords:
        reached = {part for unit in units for part in _parts(_symbol(unit))}
        for token in set(tokens):
            reached.update(part for symbol in self.merged(token) for part in _parts(symbol))
        merges = [pair for pair in self.merges if "".join(pair) in reached]
        # subword-nmt needs at least one; its result is split again
        return replace(self, merges=merges or list(self.merges[:1]))

    def _fitness(self) -> Callable[[Symbols], bool]:
        known = {"".join(pair) for pair in self.merges}
        return lambda pair: "".join(pair) not in known

    def _with_merges(self, learnt: Sequence[Symbols]) -> BytePairSubwords:
        return replace(self, merges=[*self.merges, *learnt])


def _symbol(unit: str) -> str:
    """A unit as merges write it: with or without the mark of the end of a word."""
    if unit.endswith(SEPARATOR):
        return unit.removesuffix(SEPARATOR)
    return unit + END_OF_WORD


def _parts(symbol: str) -> Iterator[str]:
    """Every substring of a symbol; the end-of-word mark belongs to the character before it."""
    body, end = symbol.removesuffix(END_OF_WORD), symbol[len(symbol.removesuffix(END_OF_WORD)) :]
    for first in range(len(body)):
        for last in range(first + 1, len(body) + 1):
            yield body[first:last] + (end if last == len(body) else "")

"""Trim or extend how raw text is segmented into the units of a model.

Text that is covered is segmented as before. Both for byte pairs and for sentencepiece, the list of
units that a language may use (``vocab.<language>``) decides: a unit that is not in the list is
split again by undoing the merges that made it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from tiednmt.errors import UserError
from tiednmt.text.bpe import END_OF_WORD, Symbols, continued_merges
from tiednmt.text.normalise import APOSTROPHE, ASCII, TYPOGRAPHIC, apostrophe_of
from tiednmt.text.pipeline import SENTENCEPIECE, TextPipeline, TextSettings
from tiednmt.text.subwords import (
    SENTENCEPIECE_SPACE,
    SEPARATOR,
    halves,
    merge_ranks,
    split_piece,
)

_BPE_MODEL = 2  # sentencepiece's number for the model type BPE
_NORMAL = 1  # its number for pieces of type NORMAL

Vocabulary = dict[str, int]  # unit → how often it was seen


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


@dataclass(frozen=True)
class Subwords:
    """The segmentation of a prepared folder.

    Attributes:
        settings: the languages, and the steps before segmentation.
        vocabularies: for each language, the units that it may use.
        merges: with subword-nmt, the merges in their order.
        model: with sentencepiece, the serialised model.
    """

    settings: TextSettings
    vocabularies: Mapping[str, Vocabulary]
    merges: Sequence[Symbols] = ()
    model: bytes = b""

    # --- files ---------------------------------------------------------------------------------

    @classmethod
    def read(cls, folder: Path, settings: TextSettings) -> Subwords:
        """Read the ``bpe`` folder of a prepared folder.

        Raises:
            UserError: a file is missing or damaged.
        """
        TextPipeline(settings, folder).load_tools()  # raises the errors
        files = sorted(folder.glob("vocab.*"))
        vocabularies = {path.name.removeprefix("vocab."): _read_counts(path) for path in files}
        if settings.segmentation == SENTENCEPIECE:
            return cls(settings, vocabularies, model=(folder / "sentencepiece.model").read_bytes())
        lines = (folder / "codes").read_text(encoding="utf-8").split("\n")
        if lines[0].startswith("#version:"):  # other lines may be merges of "#"
            del lines[0]
        merges = [tuple(line.split(" ")) for line in lines if line]
        return cls(settings, vocabularies, [(pair[0], pair[1]) for pair in merges])

    def write(self, folder: Path) -> None:
        """Write the files that :meth:`read` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        for language, units in self.vocabularies.items():
            ranked = sorted(units.items(), key=lambda item: (-item[1], item[0]))
            _write(folder / f"vocab.{language}", (f"{unit} {count}" for unit, count in ranked))
        if self.model:
            (folder / "sentencepiece.model").write_bytes(self.model)
        else:
            merges = (f"{one} {other}" for one, other in self.merges)
            _write(folder / "codes", ("#version: 0.2", *merges))

    # --- use -----------------------------------------------------------------------------------

    @cached_property
    def _folder(self) -> TemporaryDirectory[str]:
        folder = TemporaryDirectory()
        self.write(Path(folder.name))
        return folder

    @cached_property
    def _pipelines(self) -> dict[str, TextPipeline]:
        """By language; a pipeline has two, so each language is both of its own pipeline's."""
        folder = Path(self._folder.name)
        return {
            code: TextPipeline(replace(self._settings_of(code), target=code), folder)
            for code in self.vocabularies
        }

    def _settings_of(self, source: str) -> TextSettings:
        """The settings with another source language, whose sentences have no tag."""
        if source == self.settings.source:
            return self.settings
        return replace(self.settings, source=source, tag="")

    def language(self, path: Path) -> str:
        """See :class:`Segmentation`."""
        return language_of(path, list(self.vocabularies))

    def units(self, line: str, language: str) -> list[str]:
        """See :class:`Segmentation`."""
        return self._pipelines[language].encode(line, language).split()

    def units_of_token(self, token: str, language: str) -> list[str]:
        """The units of a token, or with sentencepiece those of a raw line."""
        return self._pipelines[language].segment(token, language).split()

    def tokens(self, line: str, language: str) -> list[str]:
        """What is segmented at once: each token of a line, or with sentencepiece the whole line."""
        tokens = self._pipelines[language].tokenise(line, language)
        return [tokens] if self.model else tokens.split()

    @cached_property
    def _unbound(self) -> Any:
        """The segmenter without a list of allowed units."""
        if self.model:
            from sentencepiece import SentencePieceProcessor

            return SentencePieceProcessor(model_proto=self.model)
        from subword_nmt.apply_bpe import BPE

        return BPE(_codes(self.merges), separator=SEPARATOR)

    def merged(self, token: str) -> list[str]:
        """The symbols of a token after all merges, including units that a language may not use."""
        if self.model:
            return [str(piece) for piece in self._unbound.encode(token, out_type=str)]
        units = str(self._unbound.segment(token)).split()
        return [_symbol(unit) for unit in units]

    # --- smaller -------------------------------------------------------------------------------

    def trimmed(self, kept: Collection[str], tokens: Iterable[str]) -> Subwords:
        """The segmentation with only these units.

        Args:
            kept: the units.
            tokens: tokens that these units cover and whose segmentation must stay the same. Merges
                that they pass through are kept, as are merges that lead to a unit.
        """
        units = set(kept)
        vocabularies = {
            language: {unit: count for unit, count in of.items() if unit in units}
            for language, of in self.vocabularies.items()
        }
        if self.model:  # stays as it is: its pieces take no rows, and ``vocabularies`` decide
            return replace(self, vocabularies=vocabularies)
        reached = {part for unit in units for part in _parts(_symbol(unit))}
        for token in set(tokens):
            reached.update(part for symbol in self.merged(token) for part in _parts(symbol))
        merges = [pair for pair in self.merges if "".join(pair) in reached]
        if not merges:  # subword-nmt needs at least one; its result is split again
            merges = list(self.merges[:1])
        return replace(self, vocabularies=vocabularies, merges=merges)

    # --- larger --------------------------------------------------------------------------------

    def extended(
        self, lines: Sequence[str], language: str, merges: int, old: Iterable[str] | None
    ) -> Subwords:
        """The segmentation with further merges, learnt from the text of a language.

        A known language keeps the segmentation of its old text: it may not use a new unit that
        would occur there. A new one is decoded with the usual apostrophe of its text.

        Args:
            lines: raw text.
            language: of the text; may be new.
            merges: how many merges to learn, at most.
            old: the tokens of the old text in this language, if known.

        Raises:
            UserError: the model is one of sentencepiece that cannot be continued.
        """
        vocabularies = {language: {}, **self.vocabularies}
        before = replace(self, vocabularies=vocabularies)
        tokens = Counter(token for line in lines for token in before.tokens(line, language))
        words: Counter[tuple[str, ...]] = Counter()
        for token, count in tokens.items():
            for word in before.words_of(token):
                words[word] += count
        learnt = list(continued_merges(words.items(), merges, before._fitness()))
        after = before._with_merges(learnt)
        units: Counter[str] = Counter()
        for token, count in tokens.items():
            for unit in after.written(token):
                units[unit] += count
        own = dict(self.vocabularies.get(language, {}))
        least = self.settings.threshold
        further = {u: c for u, c in units.items() if u not in own and c >= least}
        while True:  # until the old text is segmented as before
            own_now = {**own, **further}
            after = replace(after, vocabularies={**self.vocabularies, language: own_now})
            seen = {u for token in old or () for u in after.units_of_token(token, language)}
            if seen.isdisjoint(further):
                break
            further = {unit: count for unit, count in further.items() if unit not in seen}
        rare = {unit: count for unit, count in units.items() if count < least}
        vocabularies = {**after.vocabularies, language: {**rare, **own_now}}
        return replace(
            after, vocabularies=vocabularies, settings=self._settings_for(lines, language)
        )

    def _settings_for(self, lines: Sequence[str], language: str) -> TextSettings:
        """The settings, with the apostrophe of a new language if that is one of them."""
        if language in self.vocabularies or APOSTROPHE not in self.settings.normalisation:
            return self.settings
        typographic, ascii = (
            sum(len(kind.findall(line)) for line in lines) for kind in (TYPOGRAPHIC, ASCII)
        )
        usual = {language: apostrophe_of(typographic, ascii)}
        return replace(self.settings, apostrophes={**self.settings.apostrophes, **usual})

    def words_of(self, token: str) -> Iterator[tuple[str, ...]]:
        """The words that merges stay within, as symbols; with sentencepiece, those of a line."""
        symbols = self.merged(token)
        if not self.model:
            yield tuple(symbols)
            return
        word: list[str] = []
        for symbol in symbols:
            if symbol.startswith(SENTENCEPIECE_SPACE) and word:
                yield tuple(word)
                word = []
            word.append(symbol)
        if word:
            yield tuple(word)

    def written(self, token: str) -> list[str]:
        """The units of a token after all merges."""
        symbols = self.merged(token)
        if self.model:
            return symbols
        return [*(s + SEPARATOR for s in symbols[:-1]), symbols[-1].removesuffix(END_OF_WORD)]

    def _fitness(self) -> Any:
        """Which pairs may become new merges: those whose result no merge makes yet."""
        if not self.model:
            known = {"".join(pair) for pair in self.merges}
            return lambda pair: "".join(pair) not in known
        ranks = merge_ranks(self._pieces)

        def is_fit(pair: Symbols) -> bool:
            piece = "".join(pair)
            if piece in ranks or halves(piece, ranks) != pair:  # else it would be split otherwise
                return False
            ranks[piece] = len(ranks)
            return True

        return is_fit

    @property
    def _pieces(self) -> list[str]:
        return [self._unbound.id_to_piece(i) for i in range(self._unbound.get_piece_size())]

    def _with_merges(self, learnt: Sequence[Symbols]) -> Subwords:
        if not self.model:
            return replace(self, merges=[*self.merges, *learnt])
        return replace(self, model=_with_pieces(self.model, ["".join(pair) for pair in learnt]))

    def parts_of(self, unit: str, known: Collection[str]) -> list[str]:
        """The units of ``known`` that a unit was split into before it was merged.

        Characters that are not known stay as they are.
        """
        if unit in known:
            return [unit]
        if self.model:
            return split_piece(unit, merge_ranks(self._pieces), known)
        reverse = {"".join(pair): pair for pair in reversed(self.merges)}

        def split(symbol: str) -> list[str]:
            name = symbol.removesuffix(END_OF_WORD)
            whole = name if symbol.endswith(END_OF_WORD) else name + SEPARATOR
            if whole in known or symbol not in reverse:
                return [whole]
            return [part for half in reverse[symbol] for part in split(half)]

        symbol = _symbol(unit)
        return split(symbol) if symbol in reverse else [unit]

    def spelled(self, unit: str, known: Collection[str]) -> list[str]:
        """The units of ``known`` that any string is split into."""
        end = SEPARATOR if unit.endswith(SEPARATOR) else ""
        if self.model:
            symbols = self.merged(unit.removeprefix(SENTENCEPIECE_SPACE))
            if not unit.startswith(SENTENCEPIECE_SPACE):  # sentencepiece put one before the line
                first = symbols[0].removeprefix(SENTENCEPIECE_SPACE)
                symbols = [*([first] if first else []), *symbols[1:]]
            return [part for symbol in symbols for part in self.parts_of(symbol, known)]
        symbols = self.merged(unit.removesuffix(SEPARATOR))
        body = [symbol + SEPARATOR for symbol in symbols[:-1]]
        last = symbols[-1].removesuffix(END_OF_WORD) + end
        return [part for each in (*body, last) for part in self.parts_of(each, known)]


def is_character(unit: str) -> bool:
    """Whether a unit is a single character, anywhere in a word."""
    return len(unit.removesuffix(SEPARATOR).removeprefix(SENTENCEPIECE_SPACE)) <= 1


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


def _codes(merges: Sequence[Symbols]) -> Any:
    from io import StringIO

    return StringIO("#version: 0.2\n" + "".join(f"{one} {other}\n" for one, other in merges))


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


def _read_counts(path: Path) -> Vocabulary:
    lines = path.read_text(encoding="utf-8").split("\n")
    pairs = (line.rsplit(" ", 1) for line in lines if line)
    return {unit: int(count) for unit, count in pairs}


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


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

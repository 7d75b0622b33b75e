"""Raw text to raw text: trained models, the text pipeline they were fed by, and beam search."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from fairseq import utils
from fairseq.tasks.translation import TranslationTask
from torch import Tensor
from tqdm import tqdm

from tiednmt.errors import UserError
from tiednmt.export.card import FLOAT32
from tiednmt.models.tied_model import TiedModel
from tiednmt.options import positive
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator
from tiednmt.text.lines import text_fault
from tiednmt.text.pipeline import TextPipeline
from tiednmt.text.writing import visible
from tiednmt.translation.batches import batches_for, build_generator, search_batch, source_tokens
from tiednmt.translation.settings import Search, SearchOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

LINES_AT_ONCE = 2000  # of a long text: what is held in memory


@dataclass(frozen=True)
class Translation:
    """The translation of one line.

    Attributes:
        text: raw text of the target language.
        score: log-probability, divided by the length (end of sentence included) to the power of
            ``lenpen``; 0 for a blank line.
        units: the subword units of the translation.
        unit_scores: the log-probability of each, and of the end of the sentence.
        source_units: the subword units of the line; unknown ones are replaced by ``<unk>``.
        alignment: pairs (source unit, unit), as indices from 0: the source unit that each unit
            attends to most. Empty if the model has no attention.
        attention: the weights behind ``alignment``: a row for each unit and for the end of the
            sentence, over the source's units and their end. Each row sums to one.
    """

    text: str
    score: float
    units: tuple[str, ...] = ()
    unit_scores: tuple[float, ...] = ()
    source_units: tuple[str, ...] = ()
    alignment: tuple[tuple[int, int], ...] = ()
    attention: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, eq=False)
class Translator:
    """A model, or an ensemble that averages probabilities at every step, and its text pipeline.

    :func:`tiednmt.load` makes one; its documentation shows how to use it.

    Attributes:
        name: its name in tables.
        paths: where the models were read from.
        models: all with the same dictionaries.
        task: the one that searches with them.
        pipeline: raw text to units and back.
        device: what they run on.
        weights: their dtype, ``float32`` or ``int8``.
    """

    name: str
    paths: tuple[Path, ...]
    models: Sequence[Any]
    task: TranslationTask
    pipeline: TextPipeline
    device: torch.device
    weights: str = FLOAT32
    _generators: dict[Search, Any] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    @property
    def parameters(self) -> int:
        """Parameters of all models, each tied matrix counted once per model."""
        return sum(p.numel() for model in self.models for p in model.parameters())

    @property
    def tie_signature(self) -> str | None:
        """What is tied in the first model; None of a stock model."""
        model = self.models[0]
        return model.tie_map.signature if isinstance(model, TiedModel) else None

    @property
    def languages(self) -> tuple[str, str]:
        """Source and target."""
        return self.pipeline.languages

    # --- raw text ------------------------------------------------------------------------------

    @overload
    def translate(
        self,
        lines: Iterable[str],
        *,
        nbest: None = None,
        details: Literal[False] = False,
        progress: str | None = None,
        **search: Unpack[SearchOptions],
    ) -> list[str]: ...

    @overload
    def translate(
        self,
        lines: Iterable[str],
        *,
        nbest: int,
        details: Literal[False] = False,
        progress: str | None = None,
        **search: Unpack[SearchOptions],
    ) -> list[list[str]]: ...

    @overload
    def translate(
        self,
        lines: Iterable[str],
        *,
        nbest: None = None,
        details: Literal[True],
        progress: str | None = None,
        **search: Unpack[SearchOptions],
    ) -> list[Translation]: ...

    @overload
    def translate(
        self,
        lines: Iterable[str],
        *,
        nbest: int,
        details: Literal[True],
        progress: str | None = None,
        **search: Unpack[SearchOptions],
    ) -> list[list[Translation]]: ...

    def translate(
        self,
        lines: Iterable[str],
        *,
        nbest: int | None = None,
        details: bool = False,
        progress: str | None = None,
        **search: Unpack[SearchOptions],
    ) -> Any:
        """Translate raw lines, one by one and in order; lines without visible characters give "".

        See :func:`tiednmt.load`.

        Args:
            lines: raw text of the source language.
            nbest: return a list of this many translations per line, the best first; at most
                ``beam``. The list is shorter if the search finds fewer.
            details: return a :class:`Translation` instead of each string.
            progress: label of a progress bar on stderr, if that is a terminal; None: no bar.
            **search: ``beam``, ``lenpen``, ``max_tokens`` and ``max_sentences`` of
                :class:`~tiednmt.translation.settings.Search`.

        Raises:
            UserError: a number out of range, or something else than a list of strings.
        """
        lines = [*_lines(lines)]
        with tqdm(
            total=sum(map(visible, lines)),
            desc=progress,
            unit=" sentences",
            mininterval=0.5,
            disable=None if progress else True,  # None: where stderr is no terminal
        ) as bar:
            return [*self._stream(lines, nbest, details, search, bar)]

    @overload
    def stream(
        self,
        lines: Iterable[str],
        *,
        nbest: None = None,
        details: Literal[False] = False,
        at_once: int = LINES_AT_ONCE,
        **search: Unpack[SearchOptions],
    ) -> Iterator[str]: ...

    @overload
    def stream(
        self,
        lines: Iterable[str],
        *,
        nbest: int,
        details: Literal[False] = False,
        at_once: int = LINES_AT_ONCE,
        **search: Unpack[SearchOptions],
    ) -> Iterator[list[str]]: ...

    @overload
    def stream(
        self,
        lines: Iterable[str],
        *,
        nbest: None = None,
        details: Literal[True],
        at_once: int = LINES_AT_ONCE,
        **search: Unpack[SearchOptions],
    ) -> Iterator[Translation]: ...

    @overload
    def stream(
        self,
        lines: Iterable[str],
        *,
        nbest: int,
        details: Literal[True],
        at_once: int = LINES_AT_ONCE,
        **search: Unpack[SearchOptions],
    ) -> Iterator[list[Translation]]: ...

    def stream(
        self,
        lines: Iterable[str],
        *,
        nbest: int | None = None,
        details: bool = False,
        at_once: int = LINES_AT_ONCE,
        **search: Unpack[SearchOptions],
    ) -> Any:
        """As :meth:`translate`, but lazily: for files that are larger than memory.

        Args:
            lines: read ``at_once`` at a time, and translated before the next are read.
            nbest: as in :meth:`translate`.
            details: as in :meth:`translate`.
            at_once: with 1, each line is answered before the next is read.
            **search: as in :meth:`translate`.

        Raises:
            UserError: at the first item, as :meth:`translate`.
        """
        return self._stream(_lines(lines), nbest, details, search, None, at_once)

    def _stream(
        self,
        lines: Iterable[str],
        nbest: int | None,
        details: bool,
        search: SearchOptions,
        bar: Any = None,
        at_once: int = LINES_AT_ONCE,
    ) -> Iterator[Any]:
        settings = _search(search)
        if nbest is not None and not (_is_whole(nbest) and nbest <= settings.beam):
            raise UserError(f"nbest {nbest}: must be from 1 to beam ({settings.beam})")
        if not _is_whole(at_once):
            raise UserError(f"at_once {at_once}: must be a whole number above zero")
        rest = iter(lines)
        while chunk := list(islice(rest, at_once)):
            for of_line in self._chunk(chunk, settings, nbest or 1, details, bar):
                yield of_line if nbest else of_line[0]

    def _chunk(
        self, lines: Sequence[str], search: Search, nbest: int, details: bool, bar: Any
    ) -> list[list[Any]]:
        """Translations, or strings, of each line."""
        blank: Any = Translation("", 0.0) if details else ""
        translations: list[list[Any]] = [[blank] for _ in lines]
        pipeline = self.pipeline
        with self._lock:  # the processes of a search serve one batch at a time
            units = [
                pipeline.encode(line, pipeline.source) if visible(line) else "" for line in lines
            ]
            for i, source, ranked in self._ranked(units, search, bar):
                read = self._read if details else self._text
                translations[i] = [read(source, hypothesis) for hypothesis in ranked[:nbest]]
        return translations

    def _text(self, _: Tensor, hypothesis: dict[str, Any]) -> str:
        # a list, since fairseq looks at each number of a tensor several times
        units = self.task.target_dictionary.string(hypothesis["tokens"].tolist())
        return self.pipeline.decode(units, self.pipeline.target)

    def _read(self, source: Tensor, hypothesis: dict[str, Any]) -> Translation:
        """``source`` and the hypothesis end in the end of sentence, which is no unit."""
        sides = (
            (self.task.source_dictionary, source),
            (
                self.task.target_dictionary,
                hypothesis["tokens"].cpu(),
            ),
        )
        source_units, units = (
            tuple(dictionary[i] for i in tokens[:-1].tolist()) for dictionary, tokens in sides
        )
        attention = hypothesis["attention"]
        alignment: tuple[tuple[int, int], ...] = ()
        weights: tuple[tuple[float, ...], ...] = ()
        if attention is not None and attention.numel() and source_units:
            most = attention[: len(source_units), : len(units)].argmax(0).tolist()
            alignment = tuple((place, i) for i, place in enumerate(most))
            weights = tuple(map(tuple, attention.t().tolist()))
        return Translation(
            text=self._text(source, hypothesis),
            score=float(hypothesis["score"]),
            units=units,
            unit_scores=tuple(hypothesis["positional_scores"].tolist()),
            source_units=source_units,
            alignment=alignment,
            attention=weights,
        )

    # --- units ---------------------------------------------------------------------------------

    def _ranked(
        self, lines: Sequence[str], search: Search, bar: Any = None
    ) -> Iterator[tuple[int, Tensor, list[dict[str, Any]]]]:
        """The number of each line, its indices, and fairseq's hypotheses, the best first.

        The longest lines come first, and blank ones yield nothing. A line longer than the models'
        limit is cut there, with a warning.
        """
        sources = {i: self._source(line) for i, line in enumerate(lines) if line.strip()}
        generator = self._generator(search)
        for batch in batches_for(generator, sources, search.max_tokens, search.max_sentences):
            of_batch = [sources[i] for i in batch]
            ranked = search_batch(self.task, self.models, generator, of_batch)
            for i, hypotheses in zip(batch, ranked, strict=True):
                yield i, sources[i], hypotheses
            if bar is not None:
                bar.update(len(batch))

    def _generator(self, search: Search) -> Any:
        """The generator of a search, built once: the processes that share its work stay."""
        if search not in self._generators:
            self.close()
            self._generators[search] = build_generator(self.task, self.models, search)
        return self._generators[search]

    def _source(self, line: str) -> Tensor:
        limits = (model.max_positions() for model in self.models)
        limit = utils.resolve_max_positions(self.task.max_positions(), *limits)[0]
        return source_tokens(line, self.task.source_dictionary, limit)

    # --- end -----------------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        """Refuse to be pickled or copied, which fails somewhere within the models."""
        raise TypeError(
            "a Translator cannot be pickled or copied; let each process call tiednmt.load, or"
            " threads share one translator"
        )

    def close(self) -> None:
        """End the processes that share the search; the next translation starts others."""
        with self._lock:  # not those of a search that goes on
            for generator in self._generators.values():
                if isinstance(generator, TiedSequenceGenerator):
                    generator.close()
            self._generators.clear()

    def __enter__(self) -> Translator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _lines(lines: Iterable[Any]) -> Iterator[str]:
    """The lines; refuses what is no text, or none that a file could hold."""
    if isinstance(lines, str) or not isinstance(lines, Iterable):
        raise UserError("translate takes a list of lines; for one line, a list of one")
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, str):
            raise UserError(f"line {number}: must be a string, not {type(line).__name__}")
        if fault := text_fault(line):
            raise UserError(f"line {number}: holds {fault}; remove it")
        yield line


def _is_whole(number: Any) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool) and number in positive


def _search(options: SearchOptions) -> Search:
    if unknown := sorted(set(options) - set(Search.__dataclass_fields__)):
        raise TypeError(f"translate() got an unexpected keyword argument {unknown[0]!r}")
    return Search(**options)

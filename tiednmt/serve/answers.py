"""What the page asks of a model, as objects that JSON can hold."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tiednmt.analysis.checkpoints import embeddings_of
from tiednmt.analysis.embeddings import Embedding, nearest, units_of
from tiednmt.errors import UserError
from tiednmt.models.parameters import names_of
from tiednmt.options import Range
from tiednmt.text.lines import text_fault
from tiednmt.translation.settings import DEFAULT_SEARCH
from tiednmt.translation.translator import Translation, Translator

LONGEST = 1000  # characters of a sentence: seconds of search on one core
WIDEST = 10  # beam
MOST_NEIGHBOURS = 50


class ClosedError(Exception):
    """There are no more answers."""


class Answers:
    """A model's answers; of several threads that ask, one is answered at a time.

    Neighbours are those of the first model of an ensemble.
    """

    def __init__(self, translator: Translator) -> None:
        self._translator = translator
        self._embeddings = _embeddings(translator)
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Give no more answers after the one at hand."""
        self._closed = True

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise ClosedError
            yield

    def model(self) -> dict[str, Any]:
        """What it is: name, languages, tie signature, number of parameters, matrices."""
        translator = self._translator
        source, target = translator.languages
        return {
            "name": translator.name,
            "source": source,
            "target": target,
            "tie": translator.tie_signature,
            "parameters": translator.parameters,
            "matrices": [
                {"name": one.name, "languages": sorted(one.languages), "words": len(one.words)}
                for one in self._embeddings
            ],
            "longest": LONGEST,
        }

    def translations(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """``{"text": …, "nbest": N, "beam": N}`` → the translations, the best first.

        Raises:
            UserError: a value is missing, of another type, or out of its range.
            ClosedError: see :meth:`close`.
        """
        text = _text(question, "text")
        beam = _number(question, "beam", DEFAULT_SEARCH.beam, WIDEST)
        nbest = _number(question, "nbest", min(3, beam), beam)
        # its lock keeps threads from searching at once, ours also from the tools of the text
        with self._turn():
            (translations,) = self._translator.translate(
                [text], nbest=nbest, details=True, beam=beam
            )
        return {"translations": [_shown(one) for one in translations]}

    def neighbours(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """``{"word": …, "count": N}`` → by matrix the word's units and the nearest rows.

        Raises:
            UserError: a value is missing, of another type, or out of its range.
            ClosedError: see :meth:`close`.
        """
        word = _text(question, "word")
        count = _number(question, "count", 10, MOST_NEIGHBOURS)
        pipeline = self._translator.pipeline
        with self._turn():
            matrices = []
            for embedding in self._embeddings:
                # a unit of the vocabulary is itself; a word is what it is written in
                known = word in embedding.rows
                units = (lambda one: [one]) if known else units_of(embedding, pipeline)
                matrices.append(
                    {
                        "name": embedding.name,
                        "languages": sorted(embedding.languages),
                        "units": list(embedding.known_units(word, units)),
                        "nearest": nearest(embedding, word, count, units),
                    }
                )
        return {"matrices": matrices}


def _embeddings(translator: Translator) -> tuple[Embedding, ...]:
    """Those of the first model; none of a stock architecture that is not known."""
    weights = {name: one.detach().cpu() for name, one in translator.models[0].state_dict().items()}
    names = getattr(translator.models[0], "parameter_names", None) or names_of(weights)
    if names is None:
        return ()
    task = translator.task
    dictionaries = (task.source_dictionary, task.target_dictionary)
    return embeddings_of(weights, names, dictionaries, translator.languages)


def _shown(one: Translation) -> dict[str, Any]:
    return {
        "text": one.text,
        "score": round(one.score, 4),
        "units": one.units,
        "source_units": one.source_units,
        "attention": [[round(weight, 4) for weight in row] for row in one.attention],
    }


def _text(question: Mapping[str, Any], name: str) -> str:
    """A line of text that is not blank; line ends in it are spaces."""
    value = question.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{name}: give some text")
    if len(value) > LONGEST:
        raise UserError(f"{name}: {len(value):,} characters; at most {LONGEST:,}")
    if fault := text_fault(value):
        raise UserError(f"{name}: holds {fault}; remove it")
    return " ".join(value.split())


def _number(question: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = question.get(name, default)
    if type(value) is not int or value not in Range(1, most):
        raise UserError(f"{name}: must be a whole number {Range(1, most)}")
    return value

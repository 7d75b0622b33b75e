"""A trained model as surgery sees it: state dict, options, dictionaries and optimizer moments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_MODEL_REGISTRY
from torch import Tensor

from tiednmt.errors import UserError
from tiednmt.frequency import is_padding_entry
from tiednmt.models.model_options import as_config, not_read_again
from tiednmt.models.parameters import (
    NOT_PARAMETERS,
    OURS,
    PRIVATE_UNITS,
    SOURCE_ROWS,
    TARGET_ROWS,
)
from tiednmt.models.tied_model import TiedModel
from tiednmt.tying import DIGEST, vocabulary_digest
from tiednmt.vocabulary.moments import Moments
from tiednmt.vocabulary.rows import Rows, with_starts

Weights = dict[str, Tensor]
Starts = Mapping[str, Mapping[int, Tensor]]  # by matrix, rows that are not means of old rows


@dataclass(frozen=True)
class ModelState:
    """A model to operate on; files are read and written elsewhere.

    Attributes:
        architecture: the name it is registered under.
        options: the model's options.
        weights: its state dict, each matrix once.
        source: the source dictionary; None in a language model.
        target: the target dictionary, or the only one.
        moments: the optimizer's state per parameter; None if training cannot be continued.
        averages: further state dicts of the same model (exponential moving averages), by name.
    """

    architecture: str
    options: Mapping[str, Any]
    weights: Weights
    source: Dictionary | None
    target: Dictionary
    moments: Moments | None = None
    averages: Mapping[str, Weights] | None = None

    @property
    def tying(self) -> str:
        """What is tied."""
        return str(self.options["tying"])

    @property
    def is_joint(self) -> bool:
        """Whether source and target have the same entries, so that they are changed alike."""
        return self.source is not None and self.source.symbols == self.target.symbols

    @property
    def dictionaries(self) -> tuple[Dictionary, ...]:
        """Source and target, or the one of a language model."""
        return (self.target,) if self.source is None else (self.source, self.target)

    @property
    def parameters(self) -> int:
        """Number of parameters, shared ones counted once."""
        return sum(w.numel() for n, w in self.weights.items() if not n.endswith(NOT_PARAMETERS))

    @property
    def bytes(self) -> int:
        """Size of the weights in bytes."""
        return sum(weight.numel() * weight.element_size() for weight in self.weights.values())

    def build(self, as_trained: bool = False) -> TiedModel:
        """The model as a module, with its weights.

        Args:
            as_trained: hold the rows that ``--train-rows`` held, by number perhaps: not of a model
                whose rows are others now.

        Raises:
            UserError: the weights do not fit the options or the dictionaries.
        """
        replaced = not_read_again(self.options)
        if as_trained:
            replaced.pop("train_rows", None)
        options = as_config({**self.options, **replaced})
        with torch.random.fork_rng(devices=[]):
            model = ARCH_MODEL_REGISTRY[self.architecture].build(options, self.source, self.target)
        model.load_state_dict({name: w.clone() for name, w in self.weights.items()})
        assert isinstance(model, TiedModel)
        return model

    def with_weights(
        self,
        change: Callable[[Weights], Weights],
        moments: Moments | None,
        **fields: Any,
    ) -> ModelState:
        """The model after ``change`` of its weights and averages, with ``fields`` replaced."""
        averages = self.averages and {n: change(dict(w)) for n, w in self.averages.items()}
        changed = replace(
            self, weights=change(dict(self.weights)), moments=moments, averages=averages, **fields
        )
        digest = vocabulary_digest(*changed.dictionaries)
        for weights in (changed.weights, *(averages or {}).values()):
            if DIGEST in weights:
                weights[DIGEST] = digest.clone()
        return changed

    def with_rows(
        self,
        source: Rows | None,
        target: Rows,
        dictionaries: tuple[Dictionary, ...],
        starts: Starts | None = None,
    ) -> ModelState:
        """The model with other dictionaries.

        Args:
            source: which old rows the new source rows are made of; None in a language model.
            target: the same for the target rows.
            dictionaries: the new dictionaries.
            starts: by name of the matrix, the rows that are not made of old ones.
        """
        rows = {**dict.fromkeys(SOURCE_ROWS, source), **dict.fromkeys(TARGET_ROWS, target)}
        of_names = {name: of for name, of in rows.items() if of is not None}

        def change(weights: Weights) -> Weights:
            changed = {n: of_names[n].of(w) if n in of_names else w for n, w in weights.items()}
            for name, of in (starts or {}).items():
                if name in changed:
                    changed[name] = with_starts(changed[name], of)
            return _with_private_rows(changed, source)

        moments = self.moments and self.moments.with_rows(of_names).with_starts(starts or {})
        if moments is not None and source is not None and PRIVATE_UNITS in self.weights:
            private = _private_rows(self.weights, source)
            moments = moments.with_rows({OURS.private: Rows.kept([r for _, r in private])})
        changed = self.with_weights(
            change,
            moments,
            source=None if source is None else dictionaries[0],
            target=dictionaries[-1],
        )
        if PRIVATE_UNITS in self.weights and PRIVATE_UNITS not in changed.weights:  # none are left
            return replace(
                changed,
                options={**changed.options, "private_units": ""},
                moments=moments and moments.without(OURS.private),
            )
        return changed


def _private_rows(weights: Weights, source: Rows) -> list[tuple[int, int]]:
    """(new entry, old place) of each private row whose unit is kept, in order of the entries."""
    places = {entry: place for place, entry in enumerate(weights[PRIVATE_UNITS].tolist())}
    left = ((source.origins[e], p) for e, p in places.items() if e in source.origins)
    return sorted(left)


def _with_private_rows(weights: Weights, source: Rows | None) -> Weights:
    if source is None or PRIVATE_UNITS not in weights:
        return weights
    left = _private_rows(weights, source)
    if not left:
        gone = {PRIVATE_UNITS, OURS.private}
        return {name: weight for name, weight in weights.items() if name not in gone}
    entries, places = zip(*left, strict=True)
    units = torch.tensor(entries, dtype=weights[PRIVATE_UNITS].dtype)
    private = weights[OURS.private][list(places)]
    return {**weights, PRIVATE_UNITS: units, OURS.private: private}


# --- dictionaries ------------------------------------------------------------------------------


def dictionary_of(like: Dictionary, entries: Iterable[tuple[str, int]]) -> Dictionary:
    """A dictionary with the special symbols of another, followed by these entries and counts."""
    made = Dictionary(
        bos=like.bos_word, pad=like.pad_word, eos=like.eos_word, unk=like.unk_word
    )  # fmt: skip
    for symbol in like.symbols[made.nspecial : like.nspecial]:
        made.add_symbol(symbol)
    made.nspecial = like.nspecial
    for symbol, count in entries:
        if symbol in made.indices:
            raise UserError(f"{symbol!r} is already in a dictionary")
        made.add_symbol(symbol, count)
    return made


def units_of(dictionary: Dictionary) -> list[str]:
    """The entries that are units: neither special symbols nor padding entries."""
    return [
        symbol
        for row, symbol in enumerate(dictionary.symbols)
        if row >= dictionary.nspecial and not is_padding_entry(dictionary, row)
    ]

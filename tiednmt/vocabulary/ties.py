"""Make one matrix of several, matching rows by their symbols; and several of one, exactly."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from fairseq.data import Dictionary
from torch import Tensor

from tiednmt.errors import UserError
from tiednmt.models.parameters import NAME_OF_USE, OURS, PRIVATE_UNITS, matrices_of
from tiednmt.modes import DECODER, INPUTS, NONE, THREE_WAY
from tiednmt.tying import (
    INPUT,
    JOINT,
    OUTPUT,
    SOURCE_INPUT,
    TARGET_INPUT,
    equal_matrices,
    require_one_size,
)
from tiednmt.vocabulary.choices import FROM_OUTPUT, MEAN
from tiednmt.vocabulary.model import ModelState, Weights, dictionary_of, units_of
from tiednmt.vocabulary.moments import Moments
from tiednmt.vocabulary.rows import Rows, weighted_mean

PADDING_FACTOR = 8  # fairseq-preprocess rounds dictionaries up to a multiple of this

# which uses share a matrix; a state dict stores it under the name of the first
_GROUPS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    NONE: (),
    INPUTS: ((SOURCE_INPUT, TARGET_INPUT),),
    DECODER: ((TARGET_INPUT, OUTPUT),),
    THREE_WAY: ((SOURCE_INPUT, TARGET_INPUT, OUTPUT),),
}
_LESS = {NONE: (), INPUTS: (NONE,), DECODER: (NONE,), THREE_WAY: (NONE, INPUTS, DECODER)}


# --- one dictionary ----------------------------------------------------------------------------


def join(source: Dictionary, target: Dictionary) -> Dictionary:
    """The joint dictionary of two: all units with the sum of their counts, in fairseq's order.

    If both have the same entries, it is the source's, unchanged.
    """
    if source.symbols == target.symbols:
        return source
    joint = dictionary_of(source, ())
    for dictionary in (source, target):
        for unit in units_of(dictionary):
            joint.add_symbol(unit, dictionary.count[dictionary.index(unit)])
    joint.finalize(padding_factor=PADDING_FACTOR)
    return joint


def _joined(model: ModelState) -> ModelState:
    """The model with one dictionary for both sides.

    A unit that a side lacked starts from that side's row of ``<unk>``, which is never written, and
    with the lowest bias of all units.
    """
    assert model.source is not None
    joint = join(model.source, model.target)
    rows = []
    for old in model.dictionaries:
        known = [old.indices.get(symbol) for symbol in joint.symbols]
        lacking = frozenset(row for row, entry in enumerate(known) if entry is None)
        rows.append(Rows([(old.unk() if e is None else e,) for e in known], lacking))
    bias = model.weights.get(OURS.bias)
    lowest = {} if bias is None else {row: bias.min() for row in sorted(rows[1].new)}
    starts = {OURS.bias: lowest}
    return model.with_rows(rows[0], rows[1], (joint, joint), starts)


# --- tie ---------------------------------------------------------------------------------------


def tie(
    model: ModelState,
    tying: str,
    origin: str = MEAN,
    counts: tuple[Mapping[str, int], Mapping[str, int]] | None = None,
) -> ModelState:
    """The model with its matrices tied: each unit's rows are merged into one.

    The rows come from the input embeddings or from the output embedding, or are a mean weighted by
    how often the unit is read on the source side, read on the target side and written. A unit that
    only one side has takes the rows of that side.

    Means are computed in float64 and stored in the dtype of the first matrix.

    Args:
        model: a model that ties less; it is not changed.
        tying: the mode.
        origin: one of :data:`~tiednmt.vocabulary.choices.ORIGINS`.
        counts: how often the source text and the target text have each unit; by default the counts
            in the dictionaries.

    Raises:
        UserError: the model does not tie less than ``tying``.
    """
    _require_less(model, tying)
    groups = _groups(tying, model)
    matrices = matrices_of(model.weights, OURS)
    for first, *others in groups:
        for other in others:
            require_one_size(tying, {use: matrices[use].size(1) for use in (first, other)})
    lacking: tuple[frozenset[str], ...] = (frozenset(), frozenset())
    if tying in JOINT and not model.is_joint:
        of_sides = [set(units_of(dictionary)) for dictionary in model.dictionaries]
        lacking = frozenset(of_sides[1] - of_sides[0]), frozenset(of_sides[0] - of_sides[1])
        model = _joined(model)
    counts = counts or _counts_of(model)
    sides = {SOURCE_INPUT: 0, TARGET_INPUT: 1, INPUT: 1, OUTPUT: 1}
    uses_of = {
        use: Use.of(use, model.target.symbols, counts[side], lacking[side], origin)
        for use, side in sides.items()
    }

    def change(weights: Weights) -> Weights:
        named = matrices_of(weights, OURS)
        for uses in groups:
            distinct = equal_matrices({use: named[use] for use in uses})
            weights_of_rows = row_weights([[uses_of[use] for use in of] for of in distinct])
            for use in uses:
                weights.pop(NAME_OF_USE[use], None)
            weights[NAME_OF_USE[uses[0]]] = weighted_mean(list(distinct.values()), weights_of_rows)
        return weights

    options = {**model.options, "tying": tying}
    return model.with_weights(change, _tied_moments(model, groups), options=options)


def _require_less(model: ModelState, tying: str) -> None:
    """Refuse a model that does not tie less than ``tying``."""
    if model.tying not in _LESS[tying]:
        way = "it does already" if model.tying == tying else "untie it first"
        raise UserError(f"--tying {tying}: the model is tied {model.tying}; {way}")
    if model.source is None and tying != DECODER:
        raise UserError(f"--tying {tying}: a language model has no source embedding; use decoder")


def _tied_moments(model: ModelState, groups: Sequence[Sequence[str]]) -> Moments | None:
    """The optimizer's moments: those of uses that share a matrix are summed, as gradients are."""
    moments = model.moments
    for uses in groups:
        stored = [NAME_OF_USE[use] for use in uses if NAME_OF_USE[use] in model.weights]
        if moments is not None and len(stored) > 1:
            moments = moments.summed(stored[0], stored[1:])
    return moments


def _groups(tying: str, model: ModelState) -> list[tuple[str, ...]]:
    """The uses that share a matrix, in a translation model or a language model."""
    if model.source is None:
        return [(INPUT, OUTPUT)] if tying == DECODER else []
    return list(_GROUPS[tying])


def _counts_of(model: ModelState) -> tuple[dict[str, int], dict[str, int]]:
    counts = [dict(zip(d.symbols, d.count, strict=True)) for d in model.dictionaries]
    return counts[0], counts[-1]


@dataclass(frozen=True)
class Use:
    """A use of a matrix that is to be tied, and what it knows of each row of the tied one.

    Attributes:
        counts: how often the unit of each row is used so, in float64.
        has_row: 1 where the use had a row for the unit before the dictionaries were joined, else 0.
        is_wanted: whether the tied rows are to come from this use.
    """

    counts: Tensor
    has_row: Tensor
    is_wanted: bool

    @classmethod
    def of(
        cls,
        use: str,
        symbols: Sequence[str],
        counts: Mapping[str, int],
        lacking: Collection[str],
        origin: str,
    ) -> Use:
        """The use of this name.

        Args:
            use: its name.
            symbols: of the rows of the tied matrix.
            counts: how often the text on the side of the use has each unit.
            lacking: units that the dictionary of that side did not have.
            origin: one of :data:`~tiednmt.vocabulary.choices.ORIGINS`.
        """
        has_row = torch.tensor([symbol not in lacking for symbol in symbols]).double()
        of_symbols = torch.tensor([counts.get(symbol, 0) for symbol in symbols]).double()
        is_wanted = origin == MEAN or (origin == FROM_OUTPUT) == (use == OUTPUT)
        return cls(has_row * of_symbols, has_row, is_wanted)


def row_weights(matrices: Sequence[Sequence[Use]]) -> list[Tensor]:
    """The weight of each matrix in each row of the tied one, in float64.

    For each row, the first of these rules that gives any matrix a weight decides. The weight is

    1. how often the wanted uses of the matrix use the unit;
    2. how often all its uses do;
    3. how many of its wanted uses had a row for the unit;
    4. how many of all its uses had one.

    Args:
        matrices: each as its uses.
    """
    rules: tuple[Callable[[Use], Tensor], ...] = (
        lambda use: use.is_wanted * use.counts,
        lambda use: use.counts,
        lambda use: use.is_wanted * use.has_row,
        lambda use: use.has_row,
    )
    rows = len(matrices[0][0].counts)
    weights = torch.zeros(len(matrices), rows, dtype=torch.float64)
    for rule in rules:
        by_rule = torch.stack([torch.stack([*map(rule, uses)]).sum(0) for uses in matrices])
        is_open = weights.sum(0) == 0
        weights += is_open * by_rule
    return list(weights)


# --- untie -------------------------------------------------------------------------------------


def untie(model: ModelState, tying: str) -> ModelState:
    """The model with more matrices, which start equal: it scores bit for bit as before.

    If the source gets its own matrix, private rows of the source side become rows of it.

    Raises:
        UserError: the model does not tie more than ``tying``.
    """
    if tying not in _LESS[model.tying]:
        raise UserError(f"--tying {tying}: the model is tied {model.tying}, which ties no more")
    apart = _apart(model, tying)
    drops_private = PRIVATE_UNITS in model.weights and tying not in JOINT

    def change(weights: Weights) -> Weights:
        named = matrices_of(weights, OURS)
        for use in apart:
            weights[NAME_OF_USE[use]] = named[use].clone()
        if drops_private:
            weights = _with_private_rows_inside(weights)
        return weights

    copies = {NAME_OF_USE[use]: _stored_name(model, use) for use in apart}
    moments = model.moments
    if moments is not None:
        is_known = {*copies.values()} <= moments.states.keys()  # not of matrices held fixed
        # a matrix with private rows inside was two, and has no single history
        keeps = is_known and not drops_private
        moments = moments.picked([*moments.states, *copies], copies) if keeps else None
    options = {**model.options, "tying": tying}
    if drops_private:
        options["private_units"] = ""
    return model.with_weights(change, moments, options=options)


def _apart(model: ModelState, tying: str) -> list[str]:
    """The uses that get a matrix of their own."""
    uses = [INPUT, OUTPUT] if model.source is None else [SOURCE_INPUT, TARGET_INPUT, OUTPUT]
    tied = {use for group in _groups(tying, model) for use in group[1:]}
    return [use for use in uses if use not in tied and NAME_OF_USE[use] not in model.weights]


def _stored_name(model: ModelState, use: str) -> str:
    """The name under which the matrix of a use is stored."""
    named = matrices_of(model.weights, OURS)
    return next(
        NAME_OF_USE[u]
        for u, w in named.items()
        if w is named[use] and NAME_OF_USE[u] in model.weights
    )


def _with_private_rows_inside(weights: Weights) -> Weights:
    private = OURS.private
    source = weights[OURS.source].clone()
    source[weights[PRIVATE_UNITS].long()] = weights[private]
    kept = {n: w for n, w in weights.items() if n not in (PRIVATE_UNITS, private)}
    return {**kept, OURS.source: source}

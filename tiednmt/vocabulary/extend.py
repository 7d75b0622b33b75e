"""A larger vocabulary: new rows follow the old ones, which stay the same, bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from fairseq.data import Dictionary
from torch import Tensor

from tiednmt.errors import UserError
from tiednmt.models.parameters import OURS, SOURCE_ROWS
from tiednmt.vocabulary.choices import BOTH, PARTS, RANDOM, SOURCE, TARGET, UNKNOWN, VECTORS
from tiednmt.vocabulary.model import ModelState, dictionary_of
from tiednmt.vocabulary.rows import Rows

logger = logging.getLogger(__name__)

# ridge regression from word vectors to rows, as a multiple of the mean square of the vectors
_RIDGE = 1e-3

Parts = Callable[[str], Sequence[str]]  # a unit → the units it was split into before


@dataclass(frozen=True)
class Start:
    """How a new row is initialised.

    - ``parts``: the mean of the rows of the units that the new one used to be split into. Its score
      is then the mean of theirs, so it never exceeds the highest of theirs. (With an output map,
      scores are not linear in the rows.)
    - ``unk``: the row of ``<unk>``, whose score training keeps low.
    - ``random``: a normal distribution with the standard deviation of the matrix.
    - ``vectors``: word vectors, or the rows of another model, mapped into the matrix by ridge
      regression over the common units. Units without a vector are initialised from their parts.

    The bias is the mean of those of the parts; with ``unk``, it is that of ``<unk>``.

    Attributes:
        kind: one of :data:`~tiednmt.vocabulary.choices.STARTS`.
        vectors: for ``vectors``: the vector of each unit.
        seed: for ``random``.
    """

    kind: str = PARTS
    vectors: Mapping[str, Tensor] | None = None
    seed: int = 1


def extend(
    model: ModelState,
    units: Mapping[str, int],
    parts_of: Parts,
    start: Start,
    side: str = BOTH,
) -> ModelState:
    """The model with further units.

    Args:
        model: the model to extend; it is not changed.
        units: the new units and their counts, in the order of their rows.
        parts_of: the units that each was split into before; ``<unk>`` stands for unknown ones.
        start: how the new rows are initialised.
        side: which dictionary to extend, where there are two.

    Raises:
        UserError: no unit is given, a unit exists already, or ``side`` names one dictionary of two
            where there is only one.
    """
    if not units:
        raise UserError("there are no new units: the model has all units of the text")
    if side != BOTH and (model.is_joint or model.source is None):
        raise UserError(f"--side {side}: the model has only one dictionary; leave --side out")
    of_side = {SOURCE: (True, False), TARGET: (False, True)}.get(side, (True, True))
    sides = of_side if model.source is not None else (True,)
    dictionaries, rows = [], []
    for old, is_extended in zip(model.dictionaries, sides, strict=True):
        new = units if is_extended else {}
        if model.source is not None and not model.is_joint:  # this side may have some of them
            new = {unit: count for unit, count in new.items() if unit not in old.indices}
        dictionaries.append(_extended(old, new))
        rows.append(_rows(old, list(new), parts_of, start))
    source = None if model.source is None else rows[0]
    starts = _starts(model, start, rows, tuple(dictionaries))
    return model.with_rows(source, rows[-1], tuple(dictionaries), starts)


def _extended(old: Dictionary, units: Mapping[str, int]) -> Dictionary:
    entries = zip(old.symbols[old.nspecial :], old.count[old.nspecial :], strict=True)
    return dictionary_of(old, [*entries, *units.items()])


def _rows(old: Dictionary, units: Sequence[str], parts_of: Parts, start: Start) -> Rows:
    unk = old.unk()
    made: list[tuple[int, ...]] = [(row,) for row in range(len(old))]
    for unit in units:
        parts = () if start.kind == UNKNOWN else parts_of(unit)
        made.append(tuple(old.indices.get(part, unk) for part in parts) or (unk,))
    return Rows(made, frozenset(range(len(old), len(made))))


def _starts(
    model: ModelState, start: Start, rows: Sequence[Rows], dictionaries: Sequence[Dictionary]
) -> dict[str, dict[int, Tensor]]:
    """By matrix, the rows that are not means of old rows."""
    if start.kind not in (RANDOM, VECTORS):
        return {}
    generator = torch.Generator().manual_seed(start.seed)
    starts = {}
    for name in (*SOURCE_ROWS, OURS.target, OURS.output):
        if name not in model.weights:
            continue
        side = 0 if name in SOURCE_ROWS else -1
        matrix, new = model.weights[name], sorted(rows[side].new)
        if start.kind == RANDOM:
            spread = matrix.float().std()
            values = torch.randn(len(new), matrix.size(1), generator=generator) * spread
            starts[name] = dict(zip(new, values, strict=True))
        else:
            symbols = [dictionaries[side].symbols[row] for row in new]
            old = model.dictionaries[side].symbols
            mapped = _mapped(start.vectors or {}, old, matrix, symbols)
            starts[name] = {r: mapped[s] for r, s in zip(new, symbols, strict=True) if s in mapped}
    return starts


def _mapped(
    vectors: Mapping[str, Tensor], old: Sequence[str], matrix: Tensor, new: Sequence[str]
) -> dict[str, Tensor]:
    """A row for each unit of ``new`` that has a vector."""
    both = [row for row, symbol in enumerate(old) if symbol in vectors]
    if not both:
        raise UserError(
            "--vectors: the file has no vector for any unit of the model, so none can be mapped; "
            "train the vectors on text that is segmented like the model's"
        )
    wanted = [symbol for symbol in new if symbol in vectors]
    logger.info("vectors: %d common units map %d of %d new ones", len(both), len(wanted), len(new))
    known = torch.stack([vectors[old[row]].double() for row in both])
    rows = matrix[both].double()
    centre, middle = known.mean(0), rows.mean(0)
    known = known - centre
    ridge = _RIDGE * known.square().mean() * len(both) * torch.eye(known.size(1)).double()
    of_vectors = torch.linalg.solve(known.T @ known + ridge, known.T @ (rows - middle))
    return {s: (vectors[s].double() - centre) @ of_vectors + middle for s in wanted}

"""How a vocabulary is used: counts, norms, near-duplicates, and what a smaller one costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tiednmt.files import write_whole
from tiednmt.frequency import frequency_order
from tiednmt.models.parameters import OURS, matrices_of
from tiednmt.show.figures import Axis, Chart, Picture, Point, Series
from tiednmt.tying import SOURCE_INPUT, SYMBOLS, equal_matrices
from tiednmt.vocabulary import trim as trimming
from tiednmt.vocabulary.files import StoredModel
from tiednmt.vocabulary.segmentation import is_character
from tiednmt.vocabulary.trim import Coverage

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # of the units that are kept, in the table of costs
NEAR = 0.9  # least cosine of near-duplicates
_ROWS_AT_ONCE = 1024
_POINTS = 400  # at most, per matrix in the picture


@dataclass(frozen=True)
class Matrix:
    """A matrix of the model, row by row.

    Attributes:
        name: all its uses, joined by " = ".
        symbols: the symbol of each row.
        counts: how often the text has each symbol.
        norms: the norm of each row.
        nearest: for each row, the other row with the highest cosine.
        cosines: that cosine.
        units: the rows of units, the most frequent first.
    """

    name: str
    symbols: Sequence[str]
    counts: Sequence[int]
    norms: Tensor
    nearest: Tensor
    cosines: Tensor
    units: Sequence[int]

    @property
    def unused(self) -> list[str]:
        """Units that the text does not have."""
        return [self.symbols[row] for row in self.units if not self.counts[row]]

    @property
    def duplicates(self) -> list[tuple[str, str, float]]:
        """Pairs of rows with almost the same direction, the closest first."""
        pairs = {
            (min(row, other), max(row, other)): float(self.cosines[row])
            for row in self.units
            if self.cosines[row] >= NEAR and (other := int(self.nearest[row])) != row
        }
        ranked = sorted(pairs.items(), key=lambda item: -item[1])
        return [(self.symbols[a], self.symbols[b], cosine) for (a, b), cosine in ranked]


@dataclass(frozen=True)
class Cost:
    """The cost of trimming.

    Attributes:
        units: how many units are kept.
        parameters: of the smaller model.
        coverage: how the text is then segmented.
    """

    units: int
    parameters: int
    coverage: Coverage


@dataclass(frozen=True)
class Report:
    """See :func:`report`."""

    matrices: Sequence[Matrix]
    costs: Sequence[Cost]

    def __str__(self) -> str:
        lines = []
        for matrix in self.matrices:
            norms = matrix.norms[list(matrix.units)]
            low, middle, high = (float(norms.quantile(q)) for q in (0.05, 0.5, 0.95))
            unused, near = matrix.unused, matrix.duplicates
            lines += [
                f"{matrix.name}: {len(matrix.symbols):,} rows, {len(matrix.units):,} of units",
                f"  norms: {middle:.3g} (5% below {low:.3g}, 5% above {high:.3g})",
                f"  rows that no text used: {len(unused):,}{_examples(unused)}",
                f"  near-duplicates (cosine of {NEAR} or more): {len(near):,}"
                + _examples([f"{a} {b} {cosine:.2f}" for a, b, cosine in near]),
            ]
        if self.costs:
            lines.append(f"{'units left':>12} {'parameters':>14}   the text")
            lines += [f"{c.units:>12,} {c.parameters:>14,}   {c.coverage}" for c in self.costs]
        return "\n".join(lines)

    def write_table(self, path: Path) -> None:
        """Write a line per row of each matrix, with tabs between the columns."""
        head = ("matrix", "row", "unit", "count", "norm", "nearest", "cosine")
        with write_whole(path) as file:
            file.write("\t".join(head) + "\n")
            for matrix in self.matrices:
                for row, symbol in enumerate(matrix.symbols):
                    other = matrix.symbols[int(matrix.nearest[row])]
                    numbers = f"{matrix.norms[row]:.5g}\t{other}\t{matrix.cosines[row]:.4f}"
                    line = f"{matrix.name}\t{row}\t{symbol}\t{matrix.counts[row]}\t{numbers}\n"
                    file.write(line)

    @property
    def picture(self) -> Picture:
        """Norms over frequency rank, and the cost of trimming if a text was given."""
        names = [_short(matrix.name) for matrix in self.matrices]
        norms = [
            Series(name, look, _norms_by_rank(matrix), joined=False)
            for look, (name, matrix) in enumerate(zip(names, self.matrices, strict=True))
        ]
        charts = [
            Chart(
                title="Norms of the rows",
                description="norm of a unit's row over the unit's frequency rank",
                x=Axis("frequency rank (1: the most frequent unit)", logarithmic=True, low=1),
                y=Axis("norm of the row"),
                series=norms,
            )
        ]
        if self.costs:
            charts += [
                self._cost_chart("Length of the text", "units per token", _units_per_token),
                self._cost_chart("Coverage", "tokens not covered, %", _percent_unknown),
            ]
        return Picture("report", charts, columns=len(charts))

    def _cost_chart(self, title: str, label: str, value: Callable[[Coverage], float]) -> Chart:
        points = [Point(cost.units, value(cost.coverage)) for cost in self.costs]
        return Chart(
            title=title,
            description=f"{label} over the number of units left",
            x=Axis("units left", low=0),
            y=Axis(label, low=0),
            series=[Series("", 0, points)],
        )


def _norms_by_rank(matrix: Matrix) -> list[Point]:
    """Norms at ranks evenly spaced on a logarithmic scale; all of them would overlap."""
    last = len(matrix.units)
    ranks = sorted({round(last ** (i / _POINTS)) for i in range(_POINTS + 1)} if last else ())
    return [Point(rank, float(matrix.norms[matrix.units[rank - 1]])) for rank in ranks]


def _units_per_token(coverage: Coverage) -> float:
    return coverage.units_after / max(coverage.tokens, 1)


def _percent_unknown(coverage: Coverage) -> float:
    return 100 * coverage.unknown / max(coverage.tokens, 1)


def _short(name: str) -> str:
    """The uses of a matrix as symbols, as in the README."""
    return " = ".join(SYMBOLS[use] for use in name.split(" = "))


def _examples(words: Sequence[str]) -> str:
    return f" ({', '.join(words[:5])}{', …' if len(words) > 5 else ''})" if words else ""


def report(stored: StoredModel, texts: Mapping[str, Sequence[str]] | None = None) -> Report:
    """How a model uses its rows.

    Counts come from the training text of the sides that a matrix is used on if the folder has
    them, otherwise from the dictionary.

    Args:
        stored: the model.
        texts: by language, raw lines on which to measure the cost of trimming.
    """
    model = stored.model
    by_side = stored.unit_counts()
    matrices = []
    for uses, weight in equal_matrices(matrices_of(model.weights, OURS)).items():
        sides = {0 if use == SOURCE_INPUT else 1 for use in uses}
        dictionary = model.dictionaries[-1 if 1 in sides else 0]
        counts = list(dictionary.count)
        if by_side is not None:
            of = [by_side[side] for side in sorted(sides)]
            counts = [sum(c.get(s, 0) for c in of) for s in dictionary.symbols]
        nearest, cosines = _nearest(weight.float())
        units = sorted(map(int, frequency_order(dictionary)), key=lambda row: -counts[row])
        matrices.append(
            Matrix(
                name=" = ".join(uses),
                symbols=dictionary.symbols,
                counts=counts,
                norms=weight.float().norm(dim=1),
                nearest=nearest,
                cosines=cosines,
                units=units,
            )
        )
    return Report(matrices, _costs(stored, texts or {}))


def _nearest(matrix: Tensor) -> tuple[Tensor, Tensor]:
    directions = torch.nn.functional.normalize(matrix, dim=1)
    best, values = [], []
    for first in range(0, len(matrix), _ROWS_AT_ONCE):
        cosines = directions[first : first + _ROWS_AT_ONCE] @ directions.T
        own = torch.arange(len(cosines))
        cosines[own, own + first] = -2
        value, row = cosines.max(dim=1)
        best.append(row)
        values.append(value)
    return torch.cat(best), torch.cat(values)


def _costs(stored: StoredModel, texts: Mapping[str, Sequence[str]]) -> list[Cost]:
    if not texts:
        return []
    model, segmentation = stored.model, stored.segmentation
    tokens = {  # of sentencepiece, whose tokens are lines, the words: no piece crosses a space
        language: Counter(
            word
            for line in lines
            for token in segmentation.tokens(line, language)
            for word in token.split()
        )
        for language, lines in texts.items()
    }
    known = {s for dictionary in model.dictionaries for s in dictionary.symbols}
    characters = {unit for unit in known if is_character(unit)}
    total = len(frequency_order(model.target))
    costs = []
    for number in sorted({max(1, round(share * total)) for share in SHARES}):
        kept = trimming.most_frequent(model, number) | characters
        smaller = trimming.trim(model, kept)
        after = segmentation.trimmed(kept, ())
        left = {s for dictionary in smaller.dictionaries for s in dictionary.symbols}
        parts = [
            trimming.coverage(
                of,
                {token: segmentation.units_of_token(token, language) for token in of},
                {token: after.units_of_token(token, language) for token in of},
                known,
                left,
            )
            for language, of in tokens.items()
        ]
        units = len(left) - model.target.nspecial
        costs.append(Cost(units, smaller.parameters, Coverage.sum(parts)))
    return costs

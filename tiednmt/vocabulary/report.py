"""What a vocabulary is used for: counts, norms, near-duplicates, and what a smaller one costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tiednmt.errors import UserError
from tiednmt.files import named_when_whole, write_whole
from tiednmt.frequency import frequency_order
from tiednmt.models.parameters import OURS, matrices_of
from tiednmt.tying import INPUT, OUTPUT, SOURCE_INPUT, TARGET_INPUT, equal_matrices
from tiednmt.vocabulary import trim as trimming
from tiednmt.vocabulary.files import Found
from tiednmt.vocabulary.segmentation import Subwords, is_character

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # of the units that are left, in the table of costs
NEAR = 0.9  # cosine from which on two rows are near-duplicates
_ROWS_AT_ONCE = 1024
_LETTERS = {INPUT: "U", SOURCE_INPUT: "$U_{src}$", TARGET_INPUT: "$U_{tgt}$", OUTPUT: "V"}


@dataclass(frozen=True)
class Matrix:
    """A matrix of the model, row by row.

    Attributes:
        name: all that it is.
        symbols: of its rows.
        counts: how often the text has each.
        norms: of the rows.
        nearest: by row, the row of greatest cosine.
        cosines: and that cosine.
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
        """Units that no text had."""
        return [self.symbols[row] for row in self.units if not self.counts[row]]

    @property
    def duplicates(self) -> list[tuple[str, str, float]]:
        """Pairs of rows of almost one direction, the nearest first."""
        pairs = {
            (min(row, other), max(row, other)): float(self.cosines[row])
            for row in self.units
            if self.cosines[row] >= NEAR and (other := int(self.nearest[row])) != row
        }
        ranked = sorted(pairs.items(), key=lambda item: -item[1])
        return [(self.symbols[a], self.symbols[b], cosine) for (a, b), cosine in ranked]


@dataclass(frozen=True)
class Cost:
    """What a vocabulary of so many units makes of a text.

    ``parameters`` are those of the smaller model.
    """

    units: int
    parameters: int
    coverage: trimming.Coverage


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
        """A line per row of each matrix, separated by tabs."""
        head = ("matrix", "row", "unit", "count", "norm", "nearest", "cosine")
        with write_whole(path) as file:
            file.write("\t".join(head) + "\n")
            for matrix in self.matrices:
                for row, symbol in enumerate(matrix.symbols):
                    other = matrix.symbols[int(matrix.nearest[row])]
                    numbers = f"{matrix.norms[row]:.5g}\t{other}\t{matrix.cosines[row]:.4f}"
                    line = f"{matrix.name}\t{row}\t{symbol}\t{matrix.counts[row]}\t{numbers}\n"
                    file.write(line)

    def draw(self, path: Path) -> None:
        """Norms over frequency, and the costs of trimming.

        Raises:
            UserError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise UserError("--output: the picture needs matplotlib; pip install it") from None
        figure = Figure(figsize=(10 if self.costs else 5.5, 4), layout="constrained")
        axes: Any = figure.subplots(1, 2 if self.costs else 1, squeeze=False)[0]
        for matrix in self.matrices:
            norms = matrix.norms[list(matrix.units)]
            ranks = range(1, len(norms) + 1)
            axes[0].scatter(ranks, norms, s=4, alpha=0.5, label=_short(matrix.name))
        axes[0].set(xscale="log", xlabel="rank by frequency", ylabel="norm of the row")
        axes[0].legend(loc="lower left")
        if self.costs:
            units = [cost.units for cost in self.costs]
            per_token = [c.coverage.units_after / max(c.coverage.tokens, 1) for c in self.costs]
            lost = [100 * c.coverage.unknown / max(c.coverage.tokens, 1) for c in self.costs]
            axes[1].plot(units, per_token, marker="o", label="units per token")
            axes[1].set(xlabel="units left", ylabel="units per token")
            other = axes[1].twinx()
            other.plot(units, lost, marker="s", color="tab:red", label="not covered")
            other.set_ylabel("tokens not covered, %")
            lines = [*axes[1].get_lines(), *other.get_lines()]
            axes[1].legend(handles=lines, loc="upper right")
        with named_when_whole(path) as partial:
            figure.savefig(partial, dpi=150, format=path.suffix.lstrip(".") or "png")


def _short(name: str) -> str:
    """The names of a matrix by the letters of the papers."""
    return " = ".join(_LETTERS[use] for use in name.split(" = "))


def _examples(words: Sequence[str]) -> str:
    return f" ({', '.join(words[:5])}{', …' if len(words) > 5 else ''})" if words else ""


def report(found: Found, texts: Mapping[str, Sequence[str]] | None = None) -> Report:
    """What a model uses its rows for.

    Counts are those of the training text on the side that a matrix is of, where the folder has
    them, and else those of the dictionary.

    Args:
        found: the model.
        texts: by language, raw lines that trimming is tried on.
    """
    model = found.model
    by_side = found.unit_counts()
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
    return Report(matrices, _costs(found, texts or {}))


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


def _costs(found: Found, texts: Mapping[str, Sequence[str]]) -> list[Cost]:
    if not texts or not isinstance(found.segmentation, Subwords):
        return []
    model, segmentation = found.model, found.segmentation
    tokens = {
        language: Counter(token for line in lines for token in segmentation.tokens(line, language))
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
        costs.append(Cost(len(left), smaller.parameters, trimming.Coverage.sum(parts)))
    return costs

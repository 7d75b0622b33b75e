"""Tables of the advice on a language pair: sizes under each tying, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from preprocess.advice import Pair, what_is_shared
from preprocess.overlap import Overlap
from scripts.lab.score.advice import Advice, MeasuredPair, is_like
from tiednmt.modes import NONE
from tiednmt.show.figures import Cell, Figures, Table
from tiednmt.tying import TieMap

NOT_MEASURED = "No pair was measured yet: results/ holds no record of a translation experiment."


def figures(
    pair: Pair,
    overlap: Overlap,
    architecture: str,
    joint: Mapping[str, TieMap],
    apart: Mapping[str, TieMap],
    measured: Sequence[MeasuredPair],
    advice: Advice,
) -> Figures:
    """The advice, and the tables behind it.

    Args:
        pair: the pair in question.
        overlap: what its sides have in common.
        architecture: of the model in question.
        joint: its tie maps over one dictionary, by tying.
        apart: those with a dictionary per language, where the tying does not need the joint one.
        measured: all pairs that were measured.
        advice: which tying to take.
    """
    return Figures(
        title=f"Which tying fits {pair.name}",
        summary=[
            what_is_shared(pair, overlap),
            f"Take `{advice}`. {' '.join(advice.reasons)}",
            _sizes(architecture, joint, apart),
            _measurements(pair, measured, advice) if measured else NOT_MEASURED,
        ],
    )


def _sizes(architecture: str, joint: Mapping[str, TieMap], apart: Mapping[str, TieMap]) -> Table:
    """A row per tying."""
    rows = [
        [
            f"`{tying}`",
            f"{_rows_of(tie):,}",
            f"{tie.total:,}",
            f"{tie.total / joint[NONE].total:.1%}",
            f"{_rows_of(apart[tying]):,}",
            f"{apart[tying].total:,}",
        ]
        for tying, tie in joint.items()
    ]
    head = ["--tying", "rows, joint dictionary", "parameters", "of none"]
    head += ["rows, dictionaries apart*", "parameters"]
    caption = f"Rows of the embedding matrices, and parameters of {architecture}"
    return Table(head, rows, caption=f"{caption} (*: where the tying does not need the joint one)")


def _rows_of(tie: TieMap) -> int:
    return sum(rows for _, (rows, _) in tie.groups)


def _measurements(pair: Pair, measured: Sequence[MeasuredPair], advice: Advice) -> Table:
    """A row per tied model that was compared with an untied one; the nearest pair comes first."""
    nearest = [*advice.nearest, *(one for one in measured if one not in advice.nearest)]
    rows: list[list[str | Cell]] = [
        [
            one.name,
            "yes" if is_like(pair, one) else "no",
            f"{row.name} ({row.options})" if row.options else row.name,
            f"{one.in_both:.1%}",
            f"{one.vocabulary['joint']:,}",
            f"{one.tokens / 1e6:.1f}",
            f"{row.share:.1%}",
            "; ".join(f"{subset} {of}" for subset, of in row.differences.items()),
        ]
        for one in nearest
        for row in one.rows
    ]
    head = ["measured", "like it", "model", "units in both", "rows", "million tokens", "of none"]
    caption = "What was measured: BLEU, less that of the best untied model of the same experiment"
    return Table([*head, "BLEU, tied − untied"], rows, left=3, caption=caption)

"""Which tying fits a language pair, from what the vocabularies of its sides share.

Three-way tying needs one matrix over the units of both languages. It pays off through the units
that both use: without any, this matrix has as many rows as the two matrices of decoder tying with a
dictionary per language, and the softmax scores the source's units in vain. What tying costs in BLEU
only trained models tell: ``scripts.analyse --advise`` answers that from the kept records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preprocess.overlap import Overlap, Scripts, common_script
from tiednmt.modes import DECODER, THREE_WAY

MIN_ROWS_SAVED = 0.05  # the smallest share of rows whose saving matters
SAME_SCRIPT = 0.5  # the smallest common share of letters at which two languages are written alike


@dataclass(frozen=True)
class Pair:
    """A language pair: its vocabulary sizes (see :mod:`preprocess.vocabulary`) and its scripts."""

    name: str
    vocabulary: Mapping[str, int]
    scripts: tuple[Scripts, Scripts]  # of the source, of the target

    @classmethod
    def of(cls, name: str, vocabulary: Mapping[str, int], overlap: Overlap) -> Pair:
        """A pair whose training text was counted."""
        return Pair(name, vocabulary, (overlap.source.scripts, overlap.target.scripts))

    @property
    def in_both(self) -> float:
        """The share of all units that both sides have."""
        units = sum(self.vocabulary[key] for key in ("source_only", "target_only", "both"))
        return self.vocabulary["both"] / units

    @property
    def written_alike(self) -> bool:
        """Whether both sides' letters are mostly of the same scripts."""
        return common_script(*self.scripts) >= SAME_SCRIPT

    def __str__(self) -> str:
        sides = dict.fromkeys(" and ".join(list(side)[:2]) or "no letters" for side in self.scripts)
        return (
            f"{self.name} ({self.in_both:.1%} of the units in both, {self.vocabulary['joint']:,} "
            f"rows, {'–'.join(sides)})"
        )


@dataclass(frozen=True)
class Advice:
    """The tying to take and why."""

    tying: str
    reasons: Sequence[str]

    def __str__(self) -> str:
        return f"--tying {self.tying}"


def what_is_shared(pair: Pair, overlap: Overlap) -> str:
    """The overlap of a pair, in a few sentences."""
    sizes = pair.vocabulary
    units = sum(sizes[key] for key in ("source_only", "target_only", "both"))
    source, target = map(_listed, pair.scripts)
    written = f"Script of both: {source}."
    if source != target:
        written = f"Script of the source: {source}; of the target: {target}."
    return (
        f"{sizes['both']:,} of {units:,} units are in both languages ({pair.in_both:.1%}), "
        f"{overlap.with_letters:,} of them with letters; they are {overlap.source.shared:.0%} of "
        f"the source's running text and {overlap.target.shared:.0%} of the target's. {written}"
    )


def _listed(scripts: Scripts) -> str:
    """The scripts that more than a hundredth of the letters are of."""
    shown = [f"{name} ({share:.0%})" for name, share in scripts.items() if share >= 0.01]
    return ", ".join(shown) if len(shown) > 1 else next(iter(scripts), "no letters")


def advise(pair: Pair) -> Advice:
    """Which tying fits the vocabulary."""
    if apart := _apart(pair):
        return Advice(DECODER, [apart])
    return Advice(THREE_WAY, [_joined(pair)])


def _rows(pair: Pair) -> tuple[int, int]:
    """The rows of one matrix for both languages, and of one matrix for each."""
    sizes = pair.vocabulary
    return sizes["joint"], sizes["source"] + sizes["target"]


def _apart(pair: Pair) -> str:
    """Why the languages are better off with matrices of their own; empty if they are not."""
    one, two = _rows(pair)
    if 1 - one / two >= MIN_ROWS_SAVED:
        return ""
    matrix = "One matrix" if pair.written_alike else "The scripts differ, and one matrix"
    return (
        f"{matrix} for both languages would have {one:,} rows, two separate ones {two:,}: "
        "three-way tying saves almost nothing beyond decoder tying with one dictionary per "
        "language (fairseq-preprocess without --joined-dictionary), and scores the source's units "
        "at every step."
    )


def _joined(pair: Pair) -> str:
    one, two = _rows(pair)
    return (
        f"One matrix for both languages has {one:,} rows, {1 - one / two:.0%} fewer than two "
        f"separate ones ({two:,})."
    )

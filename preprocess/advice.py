"""Which tying fits a language pair: from what its sides share, and from pairs that were measured.

Three-way tying asks for one matrix over the units of both languages. It pays by the units that both
use: without any, that matrix has as many rows as the two matrices of decoder tying with a
dictionary per language, and the softmax scores the source's units for nothing. What it costs is a
question of measurement, and answered by the pairs that are like the one in question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log2
from statistics import fmean

from preprocess.overlap import Overlap, Scripts, common_script

NONE, DECODER, THREE_WAY = "none", "decoder", "three-way"

HARDLY = 0.1  # a saving of fewer of the model's parameters hardly matters
LITTLE = 0.05  # nor do fewer rows that one matrix for both languages saves
SAME_SCRIPT = 0.5  # of the letters, from which on two languages are written alike
LIKE = 2.0  # times as large a share of common units, or four times as many rows


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
class Difference:
    """BLEU less that of the untied model on a test set; None is what is not known.

    With a confidence of 95% it is to the worse by no more than ``not_worse_by``.
    """

    bleu: float
    p_value: float | None = None
    not_worse_by: float | None = None

    @property
    def worse(self) -> bool:
        """Whether chance is an unlikely reason (below 5%) for a score below the untied one's."""
        return self.bleu < 0 and self.p_value is not None and self.p_value < 0.05

    def __str__(self) -> str:
        known = [] if self.p_value is None else [f"p = {self.p_value:.3f}"]
        if self.not_worse_by is not None:
            known.append(f"at most {max(self.not_worse_by, 0.0):.2f} below")
        return f"{self.bleu:+.2f}" + (f" ({', '.join(known)})" if known else "")


@dataclass(frozen=True)
class MeasuredRow:
    """A tied model beside the untied one; ``share`` is of that one's parameters.

    ``options`` are those of the model, beside its tying, that set it apart from other rows.
    """

    name: str
    tying: str
    share: float
    differences: Mapping[str, Difference]  # by test set
    options: str = ""

    @property
    def mean(self) -> float:
        """Of the differences."""
        return fmean(difference.bleu for difference in self.differences.values())

    @property
    def worse(self) -> bool:
        """Whether it is on one of the test sets."""
        return any(difference.worse for difference in self.differences.values())

    def __str__(self) -> str:
        scores = ", ".join(f"{of} on {subset}" for subset, of in self.differences.items())
        loss = "a significant loss" if self.worse else "no significant loss"
        return f"{self.name}, {self.share:.0%} of the parameters, BLEU {scores}, {loss}"


@dataclass(frozen=True)
class MeasuredPair(Pair):
    """A pair whose tied models, trained for so many ``updates``, were compared with untied ones."""

    updates: int
    rows: Sequence[MeasuredRow]


@dataclass(frozen=True)
class Advice:
    """The tying to take and why; ``nearest`` are the measurements of the nearest pair."""

    tying: str
    reasons: Sequence[str]
    nearest: Sequence[MeasuredPair] = ()
    options: str = ""  # of the model that was measured, beside its tying

    def __str__(self) -> str:
        return " ".join([f"--tying {self.tying}", *filter(None, [self.options])])


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


def advise(
    pair: Pair,
    measured: Sequence[MeasuredPair] = (),
    parameters: Mapping[str, int] | None = None,
) -> Advice:
    """Which tying to take.

    Args:
        pair: the pair in question.
        measured: pairs whose models were compared; without any nothing is said of measurements.
        parameters: of the model in question, by tying over the joint dictionary; without them
            nothing is said of what the embeddings are to the rest.
    """
    nearest = nearest_to(pair, measured)
    if parameters and (small := _small(parameters)):
        return Advice(NONE, [small], nearest)
    if apart := _apart(pair):
        return Advice(DECODER, [apart, *_unmeasured(pair, measured, nearest)], nearest)
    joined = _joined(pair)
    if nearest and is_like(pair, nearest[0]):
        return _by_measurement(joined, nearest)
    return Advice(THREE_WAY, [joined, *_unmeasured(pair, measured, nearest)], nearest)


def _small(parameters: Mapping[str, int]) -> str:
    """Why tying hardly matters; empty where it does."""
    saved = 1 - parameters[THREE_WAY] / parameters[NONE]
    if saved >= HARDLY:
        return ""
    return (
        f"The vocabulary is small compared with the rest of the model: three-way tying would save "
        f"{saved:.1%} of {parameters[NONE]:,} parameters, so it hardly matters."
    )


def _rows(pair: Pair) -> tuple[int, int]:
    """Of one matrix for both languages, and of one each."""
    sizes = pair.vocabulary
    return sizes["joint"], sizes["source"] + sizes["target"]


def _apart(pair: Pair) -> str:
    """Why the languages are better off with matrices of their own; empty where they are not."""
    one, two = _rows(pair)
    if 1 - one / two >= LITTLE:
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


def nearest_to(pair: Pair, measured: Sequence[MeasuredPair]) -> list[MeasuredPair]:
    """The measurements of the pair that is nearest, the longest trained first."""
    if not measured:
        return []
    first = min(measured, key=lambda other: _distance(pair, other))
    same = [other for other in measured if other.vocabulary == first.vocabulary]
    return sorted(same, key=lambda other: -other.updates)


def is_like(pair: Pair, other: Pair) -> bool:
    """Whether what was measured of ``other`` says something of ``pair``."""
    unlike_scripts, distance = _distance(pair, other)
    return not unlike_scripts and distance <= log2(LIKE)


def _distance(pair: Pair, other: Pair) -> tuple[bool, float]:
    """First the scripts, then how many times the shares of common units and the rows differ."""
    shares, rows = (
        abs(log2(max(one, 1e-4) / max(another, 1e-4)))
        for one, another in (
            (pair.in_both, other.in_both),
            (pair.vocabulary["joint"], other.vocabulary["joint"]),
        )
    )
    return pair.written_alike != other.written_alike, max(shares, rows / 2)


def _unmeasured(
    pair: Pair, measured: Sequence[MeasuredPair], nearest: Sequence[MeasuredPair]
) -> list[str]:
    """That no measured pair is like it, where any was measured."""
    if not measured or is_like(pair, nearest[0]):
        return []
    return [f"No measured pair is similar; the nearest is {nearest[0]}."]


def _by_measurement(joined: str, nearest: Sequence[MeasuredPair]) -> Advice:
    """The smallest of the modes that have no significant loss, in the longest trainings."""
    longest = [pair for pair in nearest if pair.updates == nearest[0].updates]
    every = [row for pair in longest for row in pair.rows]
    rows = {row.tying: row for row in sorted(every, key=_rank, reverse=True)}  # the best is last
    tried, fits = [], None
    for row in sorted(rows.values(), key=lambda row: row.share):
        tried.append(row)
        if not row.worse:
            fits = row
            break
    names = " and ".join(p.name for p in longest if any(row in p.rows for row in tried))
    on = (
        f"On {replace(longest[0], name=names)}, which is similar, compared with the untied model: "
        f"{'; '.join(map(str, tried))}."
    )
    if fits is None:
        return Advice(NONE, [joined, on], nearest)
    return Advice(fits.tying, [joined, on], nearest, fits.options)


def _rank(row: MeasuredRow) -> tuple[bool, bool, float]:
    """Lower is better: without loss first, then without options, then by score."""
    return row.worse, bool(row.options), -row.mean

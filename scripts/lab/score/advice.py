"""Which tying fits a language pair, from its vocabulary and from pairs that were measured.

The vocabulary tells whether one matrix saves anything (:mod:`preprocess.advice`). Models trained
on similar pairs tell what it costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log2
from statistics import fmean

from preprocess import advice
from preprocess.advice import Pair
from tiednmt.metrics import loss, signed
from tiednmt.modes import NONE, THREE_WAY

MIN_PARAMETERS_SAVED = 0.1  # of the model's parameters: what tying must save to matter
MAX_FACTOR_APART = 2.0  # times as large a share of common units, or four times as many rows


@dataclass(frozen=True)
class Difference:
    """The difference in BLEU from the untied model on a test set.

    With 95 % confidence, the loss is not larger than ``not_worse_by``.
    """

    bleu: float
    p_value: float
    not_worse_by: float

    @property
    def worse(self) -> bool:
        """Whether the score is significantly (p < 0.05) below that of the untied model."""
        return self.bleu < 0 and self.p_value < 0.05

    def __str__(self) -> str:
        bound = loss(self.not_worse_by, "not worse by more than ")
        return f"{signed(self.bleu)} ({_p_text(self.p_value)}, {bound})"


@dataclass(frozen=True)
class MeasuredRow:
    """A tied model and how it compares with the untied one, of whose parameters it has ``share``.

    ``options`` are the model options, other than --tying, that other rows lack.
    """

    name: str
    tying: str
    share: float
    differences: Mapping[str, Difference]  # by test set
    options: str = ""

    @property
    def mean(self) -> float:
        """The mean difference over the test sets."""
        return fmean(difference.bleu for difference in self.differences.values())

    @property
    def worse(self) -> bool:
        """Whether it is significantly worse on one of the test sets."""
        return any(difference.worse for difference in self.differences.values())

    def __str__(self) -> str:
        scores = ", ".join(f"{of} on {subset}" for subset, of in self.differences.items())
        loss = "a significant loss" if self.worse else "no significant loss"
        return f"{self.name}, {self.share:.0%} of the parameters, BLEU {scores}, {loss}"


@dataclass(frozen=True)
class MeasuredPair(Pair):
    """A pair whose tied models were compared with untied ones.

    Attributes:
        model: fairseq's name of their kind, such as ``tied_gru``.
        tokens: how many they were trained on, if all batches were full.
        rows: the tied models.
    """

    model: str
    tokens: int
    rows: Sequence[MeasuredRow]


@dataclass(frozen=True)
class Advice(advice.Advice):
    """Advice with the measurements of the ``nearest`` pair and further model ``options``."""

    nearest: Sequence[MeasuredPair] = ()
    options: str = ""

    def __str__(self) -> str:
        return " ".join([super().__str__(), *filter(None, [self.options])])


def advise(
    pair: Pair,
    measured: Sequence[MeasuredPair] = (),
    parameters: Mapping[str, int] | None = None,
    model: str = "",
) -> Advice:
    """Which tying to take.

    Args:
        pair: the pair in question.
        measured: pairs whose models were compared; without any, the vocabulary alone decides.
        parameters: of the model in question, by tying over the joint dictionary; without them
            the size of the embeddings relative to the rest is not considered.
        model: the kind in question; measurements of it count before others.
    """
    nearest = nearest_to(pair, measured, model)
    if parameters and (small := _small(parameters)):
        return Advice(NONE, [small], nearest)
    by_vocabulary = advice.advise(pair)
    is_measured = bool(nearest) and is_like(pair, nearest[0])
    if is_measured and by_vocabulary.tying == THREE_WAY:
        return _by_measurement(by_vocabulary.reasons, nearest)
    reasons = [*by_vocabulary.reasons]
    if nearest and not is_measured:
        reasons.append(f"No measured pair is similar; the nearest is {nearest[0]}.")
    return Advice(by_vocabulary.tying, reasons, nearest)


def _small(parameters: Mapping[str, int]) -> str:
    """Why tying hardly matters; empty if it does."""
    saved = 1 - parameters[THREE_WAY] / parameters[NONE]
    if saved >= MIN_PARAMETERS_SAVED:
        return ""
    return (
        f"The vocabulary is small compared with the rest of the model: three-way tying would save "
        f"{saved:.1%} of {parameters[NONE]:,} parameters, so it hardly matters."
    )


def nearest_to(pair: Pair, measured: Sequence[MeasuredPair], model: str = "") -> list[MeasuredPair]:
    """The measurements of the nearest pair: of this model first, then the longest training."""
    if not measured:
        return []
    first = min(measured, key=lambda other: _distance(pair, other))
    same = [other for other in measured if other.vocabulary == first.vocabulary]
    return sorted(same, key=lambda other: (other.model != model, -other.tokens))


def is_like(pair: Pair, other: Pair) -> bool:
    """Whether measurements of ``other`` are informative for ``pair``."""
    unlike_scripts, distance = _distance(pair, other)
    return not unlike_scripts and distance <= log2(MAX_FACTOR_APART)


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


def _by_measurement(reasons: Sequence[str], nearest: Sequence[MeasuredPair]) -> Advice:
    """The smallest model without a significant loss, among the trainings that count most."""
    first = nearest[0].model, nearest[0].tokens
    counting = [pair for pair in nearest if (pair.model, pair.tokens) == first]
    every = [row for pair in counting for row in pair.rows]
    rows = {row.tying: row for row in sorted(every, key=_rank, reverse=True)}  # the best is last
    tried, fits = [], None
    for row in sorted(rows.values(), key=lambda row: row.share):
        tried.append(row)
        if not row.worse:
            fits = row
            break
    names = " and ".join(p.name for p in counting if any(row in p.rows for row in tried))
    on = (
        f"On {replace(counting[0], name=names)}, which is similar, compared with the untied model: "
        f"{'; '.join(map(str, tried))}."
    )
    if fits is None:
        return Advice(NONE, [*reasons, on], nearest)
    return Advice(fits.tying, [*reasons, on], nearest, fits.options)


def _p_text(p_value: float) -> str:
    return f"p = {p_value:.3f}" if p_value >= 0.0005 else "p < 0.001"


def _rank(row: MeasuredRow) -> tuple[bool, bool, float]:
    """Lower is better: without loss first, then without options, then by score."""
    return row.worse, bool(row.options), -row.mean

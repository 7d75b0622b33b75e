"""Detokenised hypotheses against raw references, by sacreBLEU."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest

from tiednmt.errors import UserError

METRICS = {"bleu": BLEU, "chrf": CHRF, "ter": TER}
RESAMPLES = 1000

_SUBWORD_MARK = re.compile(r"@@(?= |$)|▁")


@dataclass(frozen=True)
class Score:
    """A corpus score and what bootstrap resampling says of its spread.

    ``mean`` and ``ci`` (the 95% confidence interval) are over 1,000 resamples; ``signature`` is
    sacreBLEU's.
    """

    score: float
    mean: float
    ci: tuple[float, float]
    signature: str


Scores = dict[str, Score]  # by the keys of METRICS


@dataclass(frozen=True)
class Comparison:
    """A system beside the baseline, by sacreBLEU's paired bootstrap.

    ``delta`` is the system's score less the baseline's (for TER, less is better), ``p_value`` how
    often chance alone would part them so far; ``mean`` and ``ci`` are the system's own.
    """

    baseline: str
    system: str
    metric: str
    delta: float
    mean: float
    ci: tuple[float, float]
    p_value: float


def score(hypotheses: Sequence[str], references: Sequence[str]) -> Scores:
    """BLEU (cased, tokeniser 13a), chrF2 and TER of detokenised text, each with its signature.

    Raises:
        UserError: no lines, not as many hypotheses as references, or text that still holds the
            marks of subword segmentation.
    """
    _require_scorable(hypotheses, references)
    scores = {}
    for name, metric_class in METRICS.items():
        metric = metric_class()
        found: Any = metric.corpus_score(hypotheses, [references], n_bootstrap=RESAMPLES)
        scores[name] = Score(
            score=_figure(found.score),
            mean=_figure(found._mean),
            ci=_interval(found._mean, found._ci),
            signature=str(metric.get_signature()),
        )
    return scores


def compare(systems: Mapping[str, Sequence[str]], references: Sequence[str]) -> list[Comparison]:
    """Each system (name → hypotheses) beside the first, by each metric.

    Raises:
        UserError: as :func:`score`.
    """
    for hypotheses in systems.values():
        _require_scorable(hypotheses, references)
    baseline, *others = systems
    test = PairedTest(
        [(name, list(hypotheses)) for name, hypotheses in systems.items()],
        {name: metric_class() for name, metric_class in METRICS.items()},
        [list(references)],
        test_type="bs",
        n_samples=RESAMPLES,
    )
    _signatures, found = test()
    _names, *results = found.values()
    comparisons = []
    for metric, (first, *rest) in zip(METRICS, results, strict=True):
        for name, result in zip(others, rest, strict=True):
            same = list(systems[name]) == list(systems[baseline])
            comparisons.append(
                Comparison(
                    baseline=baseline,
                    system=name,
                    metric=metric,
                    delta=_figure(result.score - first.score),
                    mean=_figure(result.mean),
                    ci=_interval(result.mean, result.ci),
                    # for equal texts sacreBLEU counts no resample and gives its smallest value
                    p_value=1.0 if same else _figure(result.p_value),
                )
            )
    return comparisons


def refuse_subword_marks(lines: Sequence[str], what: str) -> None:
    """Refuse text that is still split into subword units (``@@ `` or ``▁``).

    Raises:
        UserError: names ``what`` and the line.
    """
    for number, line in enumerate(lines, start=1):
        mark = _SUBWORD_MARK.search(line)
        if mark:
            raise UserError(
                f"{what}, line {number}: holds the subword mark {mark[0]}, so it is not raw text "
                f"({line[:60]!r}); join the subword units and detokenise first"
            )


def _interval(mean: float, half_width: float) -> tuple[float, float]:
    return _figure(mean - half_width), _figure(mean + half_width)


def _figure(number: float) -> float:
    """A plain float (sacreBLEU also gives numpy's) with as many places as can mean something."""
    return round(float(number), 4)


def _require_scorable(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise UserError(
            f"{len(hypotheses):,} hypotheses for {len(references):,} references; each line of the "
            "one belongs to the same line of the other"
        )
    if not references:
        raise UserError("there are no lines to score")
    refuse_subword_marks(hypotheses, "the hypotheses")
    refuse_subword_marks(references, "the references")

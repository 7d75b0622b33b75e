"""Detokenised hypotheses against raw references, by sacreBLEU."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU, CHRF, TER

from scripts.lab.records.schema import BETTER
from scripts.lab.records.seeds import Interval
from scripts.lab.score.significance import (
    Estimate,
    RunScore,
    difference,
    jackknife,
    mean_of_test_sets,
)
from tiednmt.errors import UserError

METRICS = {"bleu": BLEU, "chrf": CHRF, "ter": TER}
RESAMPLES = 1000

_SUBWORD_MARK = re.compile(r"@@(?= |$)|▁")


@dataclass(frozen=True)
class Score:
    """A corpus score, and what resampling of the sentences says of its spread.

    ``mean`` and ``ci`` (the 95% confidence interval) are over 1,000 resamples; ``signature`` is
    sacreBLEU's. ``influences`` are those of :class:`~scripts.lab.score.significance.RunScore`.
    """

    score: float
    mean: float
    ci: Interval
    signature: str
    influences: Sequence[float]

    def with_note(self, note: str) -> Score:
        """The same, with something more in its signature."""
        return replace(self, signature=f"{self.signature}|{note}")


Scores = dict[str, Score]  # by metric: the keys of METRICS, and further ones


@dataclass(frozen=True)
class Comparison:
    """A system beside a baseline by a metric, over all of their runs.

    ``difference`` is the system's mean score less the baseline's; the true one lies in ``interval``
    with a confidence of 95 %, and the system is ``not_worse_by`` more than that (below zero: it is
    better by that much) with a confidence of 95 % too. ``p_value`` is two-sided. Without
    ``over_seeds`` each has one run, and all of this is about test sentences alone.
    """

    baseline: str
    system: str
    metric: str
    difference: float
    interval: Interval
    not_worse_by: float
    p_value: float
    over_seeds: bool


def score(hypotheses: Sequence[str], references: Sequence[str]) -> Scores:
    """BLEU (cased, tokeniser 13a), chrF2 and TER of detokenised text, each with its signature.

    Raises:
        UserError: no lines, not as many hypotheses as references, or text that still holds the
            marks of subword segmentation.
    """
    _require_scorable(hypotheses, references)
    return {name: score_by(of(), hypotheses, references) for name, of in METRICS.items()}


def score_by(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """The score by a metric of sacreBLEU."""
    found: Any = metric.corpus_score(hypotheses, [references], n_bootstrap=RESAMPLES)
    return Score(
        score=_figure(found.score),
        mean=_figure(found._mean),
        ci=(_figure(found._mean - found._ci), _figure(found._mean + found._ci)),
        signature=str(metric.get_signature()),
        influences=[*map(_figure, _influences(metric, hypotheses, references))],
    )


def _influences(
    metric: Any, hypotheses: Sequence[str], references: Sequence[str]
) -> tuple[float, ...]:
    """From sacreBLEU's counts by sentence, which its own resampling is made of."""
    counts = np.array(metric._extract_corpus_statistics(hypotheses, [references]), dtype=float)
    return jackknife(counts, lambda sums: metric._compute_score_from_stats(sums).score)


def compare(
    systems: Mapping[str, Sequence[Scores]], baselines: Sequence[str] = ()
) -> list[Comparison]:
    """Every system (name → scores of its runs) beside each baseline (default: the first system).

    There are none on a test set of a single sentence.
    """
    runs = {
        metric: {name: [_run(one[metric]) for one in of] for name, of in systems.items()}
        for metric in _metrics(systems)
    }
    return _comparisons(runs, baselines)


def compare_means(
    by_test_set: Iterable[Mapping[str, Sequence[Scores]]], baselines: Sequence[str] = ()
) -> list[Comparison]:
    """As :func:`compare`, but the mean score over several test sets."""
    sets = list(by_test_set)
    runs = {
        metric: {
            name: mean_of_test_sets([[_run(one[metric]) for one in of[name]] for of in sets])
            for name in sets[0]
        }
        for metric in _metrics(sets[0])
    }
    return _comparisons(runs, baselines)


def _metrics(systems: Mapping[str, Sequence[Scores]]) -> list[str]:
    return [*next(iter(systems.values()))[0]]


def _run(score: Score) -> RunScore:
    return RunScore(score.score, score.influences)


def _comparisons(
    runs: Mapping[str, Mapping[str, Sequence[RunScore]]], baselines: Sequence[str]
) -> list[Comparison]:
    """Args: ``runs`` by metric and system."""
    return [
        _comparison(baseline, name, metric, difference(of, systems[baseline]))
        for baseline in baselines or [*next(iter(runs.values()))][:1]
        for metric, systems in runs.items()
        for name, of in systems.items()
        if name != baseline and of[0].influences
    ]


def _comparison(baseline: str, system: str, metric: str, found: Estimate) -> Comparison:
    low, high = found.interval
    return Comparison(
        baseline=baseline,
        system=system,
        metric=metric,
        difference=_figure(found.value),
        interval=(_figure(low), _figure(high)),
        not_worse_by=_figure(found.not_worse_by(BETTER[metric])),
        p_value=_figure(found.p_value),
        over_seeds=found.over_seeds,
    )


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

"""Detokenised hypotheses against raw references, by sacreBLEU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU, CHRF, TER

from tiednmt.errors import UserError
from tiednmt.metrics import BETTER
from tiednmt.seeds import Interval
from tiednmt.text.pipeline import base_language
from tiednmt.text.subwords import looks_segmented
from tiednmt.text.writing import mostly_unspaced
from tiednmt.translation.significance import (
    Estimate,
    RunScore,
    difference,
    jackknife,
    mean_of_test_sets,
)

SACREBLEU = {"bleu": BLEU, "chrf": CHRF, "ter": TER}
RESAMPLES = 1000
UNSPACED = ("zh", "ja-mecab", "char")  # tokenisers of text whose words are not set apart
LOOKED_AT = 100  # lines that tell how a language is written


@dataclass(frozen=True)
class Score:
    """A corpus score, and its spread by resampling of the sentences.

    ``mean`` and ``ci`` (the 95% confidence interval) are over 1,000 resamples; ``signature`` is
    sacreBLEU's. ``influences`` are those of :class:`~tiednmt.translation.significance.RunScore`.
    """

    score: float
    mean: float
    ci: Interval
    signature: str
    influences: Sequence[float]


Scores = dict[str, Score]  # by the keys of SACREBLEU, and perhaps tokenised_bleu and comet


@dataclass(frozen=True)
class Comparison:
    """A system compared with a baseline by a metric, over all of their runs.

    ``difference`` is the system's mean score less the baseline's. The true difference lies in
    ``interval`` with 95% confidence. With 95% confidence (one-sided), the system is worse by at
    most ``not_worse_by``; a negative value means that it is better by at least that much.
    ``p_value`` is two-sided. Without ``over_seeds``, each has one run, and all of this is about
    test sentences alone.
    """

    baseline: str
    system: str
    metric: str
    difference: float
    interval: Interval
    not_worse_by: float
    p_value: float
    over_seeds: bool


@dataclass(frozen=True)
class Scoring:
    """How hypotheses are compared with references.

    Attributes:
        tokenize: sacreBLEU's tokeniser, for BLEU.
        lowercase: compare without regard to case (TER always does).
        chrf_word_order: 2 makes chrF++ of chrF.
        normalised: what was done to the references beforehand; the signatures say it.

    Raises:
        UserError: sacreBLEU has no such tokeniser, or lacks what it needs.
    """

    tokenize: str = "13a"
    lowercase: bool = False
    chrf_word_order: int = 0
    normalised: str = ""

    def __post_init__(self) -> None:
        if self.tokenize not in BLEU.TOKENIZERS:
            known = ", ".join(BLEU.TOKENIZERS)
            raise UserError(f"--tokenize {self.tokenize}: choose one of {known}")
        if self.chrf_word_order < 0:
            raise UserError(f"--chrf-word-order {self.chrf_word_order}: must be 0 or more")
        try:
            BLEU(tokenize=self.tokenize)
        except (ImportError, RuntimeError, OSError, SystemExit) as error:
            extra = {"ja-mecab": "ja", "ko-mecab": "ko"}.get(self.tokenize)
            install = f"in a clone: pip install -e '.[{extra}]', or " if extra else ""
            raise UserError(
                f"--tokenize {self.tokenize}: sacreBLEU cannot load it"
                f" ({' '.join(str(error).split())[:80]}); {install}give another, such as char"
            ) from None

    def metrics(self) -> dict[str, Any]:
        """sacreBLEU's metrics, by the keys of SACREBLEU."""
        asian = self.tokenize in UNSPACED
        return {
            "bleu": BLEU(tokenize=self.tokenize, lowercase=self.lowercase),
            "chrf": CHRF(lowercase=self.lowercase, word_order=self.chrf_word_order),
            "ter": TER(normalized=asian, asian_support=asian),
        }

    @property
    def note(self) -> str:
        """What signatures hold in addition to sacreBLEU's fields."""
        return f"|refs:{self.normalised}" if self.normalised else ""


DEFAULT_SCORING = Scoring()


def tokenizer_for(language: str, references: Sequence[str]) -> str:
    """sacreBLEU's tokeniser for a target language; ``char`` where words are not set apart.

    Languages that sacreBLEU has no tokeniser of are told by the references.
    """
    by_language = {"zh": "zh", "yue": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
    if base_language(language) in by_language:
        return by_language[base_language(language)]
    return "char" if mostly_unspaced(" ".join(references[:LOOKED_AT])) else "13a"


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    scoring: Scoring = DEFAULT_SCORING,
    more_references: Sequence[Sequence[str]] = (),
) -> Scores:
    """BLEU, chrF2 and TER of detokenised text, each with its signature.

    Args:
        hypotheses: one per line.
        references: of the same lines.
        scoring: how; by default cased, with the tokeniser 13a.
        more_references: further ones of the same lines.

    Raises:
        UserError: no lines, not as many hypotheses as references, or text that is still split into
            subword units.
    """
    all_references = [references, *more_references]
    for each in all_references:
        _require_scorable(hypotheses, each)
    return score_by_all(hypotheses, all_references, scoring)


def score_by_all(
    hypotheses: Sequence[str], all_references: Sequence[Sequence[str]], scoring: Scoring
) -> Scores:
    """:func:`score` of lines of a set that was found to be scorable."""
    return {
        name: score_by(metric, hypotheses, all_references, scoring.note)
        for name, metric in scoring.metrics().items()
    }


def score_by(
    metric: Any, hypotheses: Sequence[str], references: Sequence[Sequence[str]], note: str = ""
) -> Score:
    """The score by a metric of sacreBLEU, whose signature gets a ``note``."""
    _score_in_floats(metric)
    result: Any = metric.corpus_score(hypotheses, references, n_bootstrap=RESAMPLES)
    return Score(
        score=figure(result.score),
        mean=figure(result._mean),
        ci=(figure(result._mean - result._ci), figure(result._mean + result._ci)),
        signature=str(metric.get_signature()) + note,
        influences=[*map(figure, _influences(metric, hypotheses, references))],
    )


def _score_in_floats(metric: Any) -> None:
    """Let every score be a float.

    Where nothing matches in some of its samples and something in others, sacreBLEU has floats and
    numpy's float32 of them, of which ``statistics.mean`` takes no mean.
    """
    compute = metric._compute_score_from_stats

    def compute_float(stats: Any) -> Any:
        result = compute(stats)
        result.score = float(result.score)
        return result

    metric._compute_score_from_stats = compute_float


def _influences(
    metric: Any, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, ...]:
    """From sacreBLEU's counts by sentence, which its own resampling is made of."""
    counts = np.array(metric._extract_corpus_statistics(hypotheses, references), dtype=float)
    return jackknife(counts, lambda sums: metric._compute_score_from_stats(sums).score)


def compare(
    systems: Mapping[str, Sequence[Scores]], baselines: Sequence[str] = ()
) -> list[Comparison]:
    """Every system (name → scores of its runs) against each baseline (default: the first one).

    There are none on a test set of a single sentence.
    """
    runs = {
        metric: {name: [_run(one[metric]) for one in of] for name, of in systems.items()}
        for metric in _measured(systems)
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
        for metric in _measured(sets[0])
    }
    return _comparisons(runs, baselines)


def _measured(systems: Mapping[str, Sequence[Scores]]) -> list[str]:
    """The metrics that every run has."""
    (first, *_), *_ = systems.values()
    return [*first]


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


def _comparison(baseline: str, system: str, metric: str, estimate: Estimate) -> Comparison:
    low, high = estimate.interval
    return Comparison(
        baseline=baseline,
        system=system,
        metric=metric,
        difference=figure(estimate.value),
        interval=(figure(low), figure(high)),
        not_worse_by=figure(estimate.not_worse_by(BETTER[metric])),
        p_value=figure(estimate.p_value),
        over_seeds=estimate.over_seeds,
    )


def refuse_subword_units(lines: Sequence[str], what: str) -> None:
    """Refuse text that is still split into subword units (``@@ `` or ``▁`` in many lines).

    Raises:
        UserError: names ``what`` and a line.
    """
    if looks_segmented(lines):
        number = next(i for i, line in enumerate(lines, start=1) if looks_segmented([line]))
        raise UserError(
            f"{what}, line {number}: holds a subword mark, as many lines do, so it is not raw text"
            f" ({lines[number - 1][:60]!r}); join the subword units and detokenise first"
        )


def figure(number: float) -> float:
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
    refuse_subword_units(hypotheses, "the hypotheses")
    refuse_subword_units(references, "the references")

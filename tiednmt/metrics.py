"""Names of the metrics of translations, and texts about the difference of two systems."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

METRICS = {
    "bleu": "BLEU",
    "tokenised_bleu": "BLEU of lower-cased tokens",
    "chrf": "chrF",
    "ter": "TER",
    "comet": "COMET",
}
# which is better, by metric
BETTER = {**dict.fromkeys(METRICS, "higher"), "ter": "lower"}


def metric_names(scored: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The names of the metrics of a system, by key; chrF with pairs of words is chrF++.

    Args:
        scored: metric → score and sacreBLEU's ``signature``; other entries do not matter.
    """
    pairs = "chrf" in scored and "|nw:2|" in scored["chrf"]["signature"]
    names = {**METRICS, "chrf": "chrF++"} if pairs else METRICS
    return {key: name for key, name in names.items() if key in scored}


def signed(difference: float) -> str:
    """A difference with its sign, to two decimals; +0.00 on both sides of zero."""
    return f"{round(difference, 2) + 0.0:+.2f}"


def signed_interval(interval: tuple[float, float]) -> str:
    """Both ends of an interval of differences."""
    return " to ".join(map(signed, interval))


NOT_WORSE = "not worse by more than (95%)"  # the head of a column of loss()


def loss(not_worse_by: float, lead: str = "") -> str:
    """``lead`` and how much worse a system is at most, or how much better it is at least."""
    bound = round(not_worse_by, 2)
    return f"better by {-bound:.2f}" if bound < 0 else f"{lead}{abs(bound):.2f}"


def what_was_sampled(over_seeds: Set[bool]) -> str:
    """What the intervals of comparisons cover, some or all of which were made over seeds."""
    one_run = "over test sentences; one run each says nothing of other seeds"
    if over_seeds == {False}:
        return one_run
    return "over seeds and test sentences" + (f" ({one_run})" if False in over_seeds else "")

"""The metrics of translations by name, and what is said of the difference of two systems."""

from __future__ import annotations

from collections.abc import Set

METRICS = {
    "bleu": "BLEU",
    "tokenised_bleu": "BLEU of lower-cased tokens",
    "chrf": "chrF",
    "ter": "TER",
    "comet": "COMET",
}
# which scores are, by metric
BETTER = {
    "bleu": "higher",
    "tokenised_bleu": "higher",
    "chrf": "higher",
    "ter": "lower",
    "comet": "higher",
}

NOT_WORSE = "not worse by more than (95%)"  # the head of what loss() makes


def loss(not_worse_by: float) -> str:
    """How much worse something is at most, or how much better at least."""
    return f"{not_worse_by:.2f}" if not_worse_by > 0 else f"better by {-not_worse_by:.2f}"


def what_was_sampled(over_seeds: Set[bool]) -> str:
    """What comparisons are about that were or were not made over seeds."""
    one_run = "over test sentences; one run each says nothing of other seeds"
    if over_seeds == {False}:
        return one_run
    return "over seeds and test sentences" + (f" ({one_run})" if False in over_seeds else "")

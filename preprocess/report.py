"""The summary that preparing a bitext prints: what was kept, and how well text comes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from preprocess.round_trips import RoundTrip
from preprocess.tokenisation import Tokenised

MAX_COPIES = 0.05  # the largest share of a held-out set that may be in training without a warning
MAX_DROPPED = 0.2  # the largest share of training pairs that may be dropped without a warning
MIN_UNCHANGED = 0.99  # the smallest share of lines that may come back unchanged without a warning
WHAT_HELPS = {
    "over_long": "--max-length",
    "ratio": "--max-ratio; are the files aligned line by line?",
    "empty": "are the files aligned line by line?",
    "script": "--no-check-script; are the languages the right way round?",
    "duplicate": "--no-deduplicate",
}
WHAT_IS_WRONG = {  # with pairs of held-out sets, which may be long
    "empty": "with an empty side",
    "ratio": "with sides of very different lengths (--max-ratio; are the files aligned?)",
    "script": "with a side mostly in letters of another script",
}


def counts_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Subset → pairs read, kept and dropped, with the reasons."""
    width = max(map(len, counts))
    lines = [f"{'pairs':<{width}}{'read':>12}{'kept':>12}{'dropped':>12}"]
    for subset, count in counts.items():
        dropped = count["read"] - count["kept"]
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in _reasons(count))
        lines.append(
            f"{subset:<{width}}{count['read']:>12,}{count['kept']:>12,}{dropped:>12,}"
            f"{'  ' + reasons if reasons else ''}"
        )
    return "\n".join(lines)


def warnings(
    counts: Mapping[str, int], tokenised: Tokenised, trips: Mapping[str, RoundTrip], method: str
) -> Iterator[str]:
    """The warnings, one paragraph each.

    Args:
        counts: pairs of the training text, read, kept and dropped.
        tokenised: the result of tokenising the training text.
        trips: round trips by language.
        method: how the text is segmented.
    """
    dropped = counts["read"] - counts["kept"]
    if dropped > MAX_DROPPED * counts["read"]:
        yield f"WARNING: {dropped / counts['read']:.0%} of the training pairs were dropped:"
        for reason, number in _reasons(counts):
            example = tokenised.examples.get(reason)
            beginning = f", such as {' ||| '.join(map(repr, example))}" if example else ""
            yield f"  {reason} {number:,}{beginning}: {WHAT_HELPS[reason]}"
    for language, trip in trips.items():
        if trip.lost > 1 - MIN_UNCHANGED and trip.example:
            hint = "; --segmentation sentencepiece keeps them" if method == "bpe" else ""
            yield (
                f"WARNING: {trip.lost:.1%} of the {language} lines are not the same after encoding"
                f" and decoding, such as {trip.example[0]!r}, which becomes"
                f" {trip.example[1]!r}{hint}"
            )
        if trip.changed > 1 - MIN_UNCHANGED and trip.normalised_example:
            yield (
                f"WARNING: {trip.changed:.1%} of the {language} lines are changed for good"
                " (decomposed letters, control characters, the rarer apostrophe), such as"
                f" {trip.normalised_example[0]!a}, which becomes {trip.normalised_example[1]!a};"
                " scripts.evaluate changes references in the same way"
            )


def trips_line(trips: Mapping[str, RoundTrip], segmentation: str) -> str:
    """How the text was segmented and how it comes back."""
    lines = max(trip.lines for trip in trips.values())
    shares = ", ".join(f"{language} {trip.share:.1%}" for language, trip in trips.items())
    return f"{segmentation}; unchanged of {lines:,} lines, encoded and decoded: {shares}"


def _reasons(counts: Mapping[str, int]) -> Sequence[tuple[str, int]]:
    return [
        (reason, number)
        for reason, number in counts.items()
        if number and reason not in ("read", "kept")
    ]

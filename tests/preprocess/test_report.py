"""When the summary of a preparation warns."""

from __future__ import annotations

import pytest

from preprocess.report import warnings
from preprocess.round_trips import RoundTrip, round_trip
from preprocess.tokenisation import Tokenised

NOTHING_DROPPED = {"read": 100, "kept": 100}


@pytest.mark.parametrize(("empty", "duplicate", "percent"), [(20, 0, None), (11, 10, 21)])
def test_more_than_a_fifth_dropped(empty, duplicate, percent):
    """docs/your-own-text.md."""
    kept = 100 - empty - duplicate
    counts = {"read": 100, "empty": empty, "duplicate": duplicate, "kept": kept}
    tokenised = Tokenised(counts, {"empty": ("a cat", "")})
    found = list(warnings(counts, tokenised, {}, "bpe"))
    if percent is None:
        assert found == []
        return
    head, *reasons = found
    assert head == f"WARNING: {percent}% of the training pairs were dropped:"
    assert reasons == [
        f"  empty {empty}, such as 'a cat' ||| '': are the files aligned line by line?",
        f"  duplicate {duplicate}: --no-deduplicate",
    ]


@pytest.mark.parametrize("lines", [10, 11])
def test_more_than_a_hundredth_comes_back_otherwise(lines):
    same, example = 1000 - lines, ("a  b", "a b")
    lost = RoundTrip(1000, same, example=example)
    normalised = RoundTrip(1000, same, normalised=lines, normalised_example=example)
    found = list(
        warnings(NOTHING_DROPPED, Tokenised({}), {"en": lost, "de": normalised}, "sentencepiece")
    )
    if lines == 10:
        assert found == []
        return
    assert [text.partition(" lines")[0] for text in found] == [
        "WARNING: 1.1% of the en",
        "WARNING: 1.1% of the de",
    ]


class Unchanged:
    """Keeps the lines that it is given."""

    def __init__(self):
        self.seen = []

    def tokenise(self, line, language):
        self.seen.append(int(line))
        return line

    def segment(self, tokens, language):
        return tokens

    def decode(self, units, language):
        return units


@pytest.mark.parametrize(("lines", "tried"), [(0, 0), (7, 7), (1999, 1000), (29_000, 1000)])
def test_lines_of_a_round_trip_are_spread_over_the_text(tmp_path, lines, tried):
    (tmp_path / "text").write_text("".join(f"{number}\n" for number in range(lines)))
    pipeline = Unchanged()
    assert round_trip(pipeline, "en", tmp_path / "text", lines) == RoundTrip(tried, tried)
    apart = {b - a for a, b in zip(pipeline.seen, pipeline.seen[1:], strict=False)}
    assert len(pipeline.seen) == tried
    assert apart <= {lines // max(tried, 1), -(-lines // max(tried, 1))}
    assert not lines or pipeline.seen[-1] >= lines - 1 - lines / tried

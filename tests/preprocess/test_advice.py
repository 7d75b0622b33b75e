"""Which tying fits pairs of every sort, from their vocabularies."""

from __future__ import annotations

import pytest

from preprocess.advice import Pair, advise, what_is_shared
from preprocess.overlap import Overlap
from preprocess.vocabulary import vocab_size, vocabulary_sizes
from tiednmt.modes import DECODER, THREE_WAY

LATIN, CYRILLIC = {"Latin": 1.0}, {"Cyrillic": 0.98, "Latin": 0.02}


def pair(both, only=3000, target=LATIN, name="xx-yy"):
    """So many units of each language alone."""
    sizes = {
        **{"source_only": only, "target_only": only, "both": both},
        **{"source": vocab_size(only + both), "target": vocab_size(only + both)},
        "joint": vocab_size(2 * only + both),
    }
    return Pair(name, sizes, (LATIN, target))


def test_a_script_and_units_in_common():
    advice = advise(pair(both=1500))
    assert advice.tying == THREE_WAY
    assert "7,504 rows, 17% fewer than two separate ones (9,008)" in advice.reasons[0]
    assert str(advice) == "--tying three-way"


def test_different_scripts_and_only_signs_in_common():
    advice = advise(pair(both=60, target=CYRILLIC))
    assert advice.tying == DECODER
    assert advice.reasons[0].startswith("The scripts differ, and one matrix for both languages")
    assert "dictionary per language" in advice.reasons[0]


def test_one_script_and_hardly_a_unit_in_common():
    advice = advise(pair(both=60))
    assert advice.tying == DECODER
    assert advice.reasons[0].startswith(
        "One matrix for both languages would have 6,064 rows, two separate ones 6,128"
    )


def test_what_is_shared_in_words():
    source, target = {"dog": 3, "a": 1, ".": 4}, {"hund": 2, "a": 1, ".": 1}
    overlap = Overlap.of(source, target)
    found = Pair.of("en-de", vocabulary_sizes({*source}, {*target}), overlap)
    assert what_is_shared(found, overlap) == (
        "2 of 4 units are in both languages (50.0%), 1 of them with letters; they are 62% of the "
        "source's running text and 50% of the target's. Script of both: Latin."
    )
    other = Pair(found.name, found.vocabulary, (LATIN, CYRILLIC))
    text = what_is_shared(other, overlap)
    assert text.endswith("Script of the source: Latin; of the target: Cyrillic (98%), Latin (2%).")


@pytest.mark.parametrize(("both", "tying"), [(1000, DECODER), (1200, THREE_WAY)])
def test_a_twentieth_of_the_rows_is_next_to_nothing(both, tying):
    """One matrix in the place of two saves 4.5% of 22,000 rows, or 5.4% of 22,400."""
    assert advise(pair(both=both, only=10_000)).tying == tying

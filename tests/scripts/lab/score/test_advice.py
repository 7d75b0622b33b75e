"""Which tying fits pairs of every sort, with measurements of others and sizes of a model."""

from __future__ import annotations

import pytest

from preprocess.advice import Pair
from preprocess.vocabulary import vocab_size
from scripts.lab.score.advice import (
    Difference,
    MeasuredPair,
    MeasuredRow,
    advise,
    is_like,
    nearest_to,
)
from tiednmt.modes import DECODER, NONE, THREE_WAY

LATIN, CYRILLIC = {"Latin": 1.0}, {"Cyrillic": 0.98, "Latin": 0.02}


def pair(both, only=3000, target=LATIN, name="xx-yy"):
    """So many units of each language alone."""
    sizes = {
        **{"source_only": only, "target_only": only, "both": both},
        **{"source": vocab_size(only + both), "target": vocab_size(only + both)},
        "joint": vocab_size(2 * only + both),
    }
    return Pair(name, sizes, (LATIN, target))


def measured(like, *rows, name="some", tokens=100, model="tied_gru"):
    return MeasuredPair(
        name=name,
        vocabulary=like.vocabulary,
        scripts=like.scripts,
        model=model,
        tokens=tokens,
        rows=[MeasuredRow(n, t, s, {"test": Difference(*d, 1.0)}, *o) for n, t, s, d, *o in rows],
    )


def test_without_measurements_the_vocabulary_tells():
    advice = advise(pair(both=1500))
    assert advice.tying == THREE_WAY
    assert "measured" not in " ".join(advice.reasons)  # nothing is known of any
    assert advise(pair(both=60)).tying == DECODER


def test_a_measured_pair_says_nothing_of_one_that_shares_hardly_a_unit():
    known = measured(pair(both=60), (*THREE, (0.5, 0.5)))
    advice = advise(pair(both=60), [known])
    assert advice.tying == DECODER and advice.nearest == [known]


@pytest.mark.parametrize(("rest", "tying"), [(1_000_000, THREE_WAY), (100_000_000, NONE)])
def test_a_vocabulary_that_is_small_against_the_rest(rest, tying):
    """Of 7,504 rows of 256: with a hundred million others, four in a hundred are saved."""
    rows = {NONE: 3, DECODER: 2, THREE_WAY: 1}
    sizes = {mode: 7504 * 256 * of + rest for mode, of in rows.items()}
    advice = advise(pair(both=1500), parameters=sizes)
    assert advice.tying == tying
    if tying == NONE:
        assert "would save 3.6% of 105,763,072 parameters" in advice.reasons[0]


THREE = ("three-way", THREE_WAY, 0.47)
TWO = ("decoder", DECODER, 0.74)


@pytest.mark.parametrize(
    ("three", "two", "tying"),
    [
        ((-0.22, 0.22), (-0.31, 0.17), THREE_WAY),  # not significant
        ((-0.72, 0.04), (-0.02, 0.40), DECODER),
        ((-0.72, 0.04), (-0.92, 0.01), NONE),
        ((0.90, 0.03), (0.0, 0.5), THREE_WAY),  # significantly better
    ],
)
def test_the_smallest_that_loses_nothing_on_a_pair_like_it(three, two, tying):
    known = measured(pair(both=1300), (*TWO, two), (*THREE, three))
    advice = advise(pair(both=1500), [known])
    assert advice.tying == tying
    assert "On some (17.8% of the units in both" in advice.reasons[1]
    assert "which is similar" in advice.reasons[1]
    assert f"{three[0]:+.2f}" in advice.reasons[1]
    assert advice.nearest == [known]


@pytest.mark.parametrize(
    ("plain", "advised"),
    [
        ((-1.1, 0.001), "--tying three-way --input-scale 4"),
        ((-0.1, 0.4), "--tying three-way"),  # which does without, if by chance with less BLEU
    ],
)
def test_options_are_advised_where_it_takes_them(plain, advised):
    known = [
        measured(pair(both=1500), (*THREE, plain), name="plain"),
        measured(
            pair(both=1500),
            ("three-way x 2", THREE_WAY, 0.47, (0.1, 0.3), "--input-scale 2"),
            ("three-way x 4", THREE_WAY, 0.47, (0.2, 0.3), "--input-scale 4"),
            name="scaled",
        ),
    ]
    advice = advise(pair(both=1500), known)
    assert str(advice) == advised
    assert f"On {'scaled' if 'scale' in advised else 'plain'} (20.0%" in advice.reasons[1]


def test_of_one_pair_the_longest_training_counts():
    short = measured(pair(both=1500), (*THREE, (-2.0, 0.001)), name="short", tokens=30)
    long = measured(pair(both=1500), (*THREE, (-0.1, 0.4)), name="long", tokens=80)
    advice = advise(pair(both=1500), [short, long])
    assert advice.tying == THREE_WAY and advice.nearest == [long, short]


def test_of_one_pair_the_model_in_question_counts_before_a_longer_training():
    gru = measured(pair(both=1500), (*THREE, (-2.0, 0.001)), name="gru", tokens=30)
    other = {"name": "transformer", "tokens": 80, "model": "tied_transformer"}
    transformer = measured(pair(both=1500), (*THREE, (0.1, 0.4)), **other)
    for model, tying in (("tied_gru", NONE), ("tied_transformer", THREE_WAY)):
        advice = advise(pair(both=1500), [gru, transformer], model=model)
        assert advice.tying == tying and advice.nearest[0].model == model


def test_what_a_measurement_says_of_a_difference():
    assert str(Difference(1.1, 0.026, -0.29)) == "+1.10 (p = 0.026, better by 0.29)"
    assert str(Difference(-0.2, 0.0001, 0.5)) == "-0.20 (p < 0.001, not worse by more than 0.50)"


@pytest.mark.parametrize(
    ("other", "like"),
    [
        (pair(both=1300), True),
        (pair(both=700), True),  # 10 % of the units against 20 %
        (pair(both=400), False),
        (pair(both=1500, target=CYRILLIC), False),
        (pair(both=6000, only=12_000), True),  # four times as large, with as much in common
        (pair(both=10_000, only=20_000), False),
    ],
)
def test_what_is_like_it(other, like):
    assert is_like(pair(both=1500), other) == like
    advice = advise(pair(both=1500), [measured(other, (*THREE, (-0.9, 0.001)))])
    assert advice.tying == (NONE if like else THREE_WAY)
    assert ("No measured pair is similar; the nearest is some" in advice.reasons[-1]) != like


def test_the_nearest_is_one_of_the_same_script():
    latin = measured(pair(both=200), (*THREE, (0.0, 0.5)), name="latin")
    cyrillic = measured(pair(both=1500, target=CYRILLIC), (*THREE, (0.0, 0.5)), name="cyrillic")
    assert nearest_to(pair(both=1400), [cyrillic, latin]) == [latin]

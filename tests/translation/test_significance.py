"""Differences over seeds and sentences: on data with a known one, and beside other calculations."""

import numpy as np
import pytest
from sacrebleu.metrics import BLEU
from scipy import stats

from tests.translation.simulation import (
    Effects,
    coverage,
    draw,
    hierarchical,
    of_sentences,
    ours,
    runs,
    summed,
)
from tiednmt.translation.scoring import SACREBLEU, score
from tiednmt.translation.significance import (
    BLOCKS,
    Estimate,
    RunScore,
    difference,
    jackknife,
    mean_of_independent,
    mean_of_test_sets,
    mean_score,
)


def dice(seed=1):
    return np.random.default_rng(seed)


def rows(*counts, sentences=40, seed=1):
    effects = Effects(seed=0.4, system=0.3, both=0.3)
    return draw(effects, counts, true=0.7, sentences=sentences, dice=dice(seed))


def fixed(*scores):
    """Runs whose scores no sentence moves."""
    return [RunScore(score, [0.0, 0.0, 0.0]) for score in scores]


def told(estimate):
    return (*estimate.interval, estimate.p_value)


# --- beside what is known of special cases -----------------------------------------------------


def test_one_run_each_is_students_paired_test_over_sentences():
    one, other = rows(1, 1)
    found = difference(runs(one), runs(other))
    expected = stats.ttest_rel(one[0], other[0])
    assert told(found) == pytest.approx([*expected.confidence_interval(), expected.pvalue])
    assert found.value == pytest.approx(one.mean() - other.mean())
    assert not found.over_seeds


@pytest.mark.parametrize("counts", [(3, 3), (2, 5), (1, 3)])
def test_where_sentences_move_nothing_it_is_students_test_of_the_seeds(counts):
    values = [dice(i).normal(30, 1, count) for i, count in enumerate(counts)]
    found = difference(*(fixed(*of) for of in values))
    expected = stats.ttest_ind(*values)
    assert told(found) == pytest.approx([*expected.confidence_interval(), expected.pvalue])
    assert found.over_seeds


def test_the_jackknife_of_a_mean_is_its_standard_error():
    (values,), _ = rows(1, 1)
    found = jackknife(np.stack([values, np.ones(40)], axis=1), lambda sums: sums[0] / sums[1])
    assert found == pytest.approx(runs(values[None])[0].influences)
    assert np.sum(np.square(found)) ** 0.5 == pytest.approx(stats.sem(values))


def test_one_row_is_students_interval_of_its_mean():
    """Of 114, 115, 114.5: 4.3027 is Student's t for two degrees of freedom."""
    half = 4.3027 * 0.5 / 3**0.5
    found = mean_score(fixed(114.0, 115.0, 114.5)).interval
    assert found == pytest.approx((114.5 - half, 114.5 + half), abs=1e-3)


def test_several_seeds_are_the_quasi_f_test():
    """Mean squares of the analysis of variance, Winer (1971), written out loop by loop."""
    for seed in range(20):
        table = np.stack(rows(3, 3, seed=seed))  # system × seed × sentence
        systems, seeds, sentences = table.shape
        of_seeds, of_sentences, rest = 0.0, 0.0, 0.0
        for system in table:
            for run in system:
                of_seeds += sentences * (run.mean() - system.mean()) ** 2
                for i in range(sentences):
                    expected = run.mean() + system[:, i].mean() - system.mean()
                    rest += (run[i] - expected) ** 2
            for i in range(sentences):
                own = system[:, i].mean() - system.mean()
                of_sentences += seeds * (own - table[:, :, i].mean() + table.mean()) ** 2
        freedom = systems * (seeds - 1), sentences - 1
        of_seeds /= freedom[0]
        of_sentences /= freedom[1]
        rest /= freedom[0] * freedom[1]
        if min(of_seeds, of_sentences) < rest:
            continue
        of_system = seeds * sentences * np.var(table.mean((1, 2)), ddof=1)
        quasi_f = of_system / (of_seeds + of_sentences - rest)
        found = difference(*map(runs, table))
        assert found.value**2 / found.variance == pytest.approx(quasi_f)
        degrees = (of_seeds + of_sentences - rest) ** 2 / (
            of_seeds**2 / freedom[0] + of_sentences**2 / freedom[1]
        )
        assert found.degrees == pytest.approx(degrees)
        assert found.p_value == pytest.approx(stats.f.sf(quasi_f, 1, degrees))
        return
    pytest.fail("all of them were cut at zero")


def test_seeds_that_agree_take_nothing_from_the_sentences():
    """Never less than the variance over the sentences, however alike the scores of the seeds."""
    one, other = rows(3, 3)
    one -= one.mean(1, keepdims=True) - 1
    other -= other.mean(1, keepdims=True)
    apart = one.mean(0) - other.mean(0)
    found = difference(runs(one), runs(other))
    assert found.variance == pytest.approx(apart.var(ddof=1) / len(apart))


def test_bounds():
    estimate = Estimate(value=-0.2, variance=0.04, degrees=10, over_seeds=True)
    half = 1.8125 * 0.2  # Student's t at 95%, one-sided
    assert estimate.not_worse_by("higher") == pytest.approx(half + 0.2, abs=1e-4)
    assert estimate.not_worse_by("lower") == pytest.approx(half - 0.2, abs=1e-4)
    low, high = estimate.interval
    assert (high - low) / 2 == pytest.approx(2.2281 * 0.2, abs=1e-4)


def test_the_same_is_no_difference():
    run = runs(rows(1, 1)[0])
    assert difference(run, run).p_value == 1
    assert difference(fixed(1.0, 1.0), fixed(1.0, 1.0)).p_value == 1
    assert difference(fixed(2.0, 2.0), fixed(1.0, 1.0)).p_value == 0


# --- several test sets and experiments ---------------------------------------------------------


def test_the_mean_of_test_sets_of_equal_size_is_that_of_all_their_sentences():
    (one, other), (more, others) = rows(3, 2, sentences=50), rows(3, 2, sentences=50, seed=2)
    found = mean_of_test_sets([runs(one), runs(more)])
    whole = runs(np.concatenate([one, more], axis=1))
    for run, expected in zip(found, whole, strict=True):
        assert run.score == pytest.approx(expected.score)
    against = mean_of_test_sets([runs(other), runs(others)])
    both = difference(found, against)
    expected = difference(whole, runs(np.concatenate([other, others], axis=1)))
    assert both.value == pytest.approx(expected.value)
    assert both.interval == pytest.approx(expected.interval, abs=0.1)  # the sets have other means


def test_the_mean_of_experiments_is_that_of_independent_figures():
    one = Estimate(1.0, 0.04, 4, True)
    assert mean_of_independent([one]) == one
    other = Estimate(2.0, 0.12, 20, False)
    found = mean_of_independent([one, other])
    assert (found.value, found.variance, found.over_seeds) == (1.5, 0.04, False)
    assert found.degrees == pytest.approx(0.16**2 / (0.04**2 / 4 + 0.12**2 / 20))


# --- on data with a known difference -----------------------------------------------------------

EVERY = [
    (Effects(0.0, 0.3, 0.3), (3, 3)),
    (Effects(0.3, 0.3, 0.3), (3, 3)),
    (Effects(0.8, 0.3, 0.3), (3, 3)),
    (Effects(0.3, 0.0, 0.3), (3, 3)),
    (Effects(0.3, 0.3, 0.3), (2, 5)),
    (Effects(0.3, 0.3, 0.3), (1, 3)),
    (Effects(0.0, 0.3, 0.3), (1, 1)),
]


@pytest.mark.parametrize("effects, seeds", EVERY)
def test_the_interval_holds_the_true_difference(effects, seeds):
    held, _ = coverage(ours, effects, seeds, 1000, dice(), sentences=60)
    assert 0.93 <= held <= 0.985


def test_the_bound_holds_and_errors_are_as_rare_as_p_says():
    effects, generator = Effects(0.3, 0.3, 0.3), dice()
    samples = [draw(effects, (3, 3), 0.0, 60, generator) for _ in range(1000)]
    found = [difference(*map(runs, pair)) for pair in samples]
    assert 0.93 <= np.mean([one.not_worse_by("higher") >= 0 for one in found]) <= 0.985
    assert 0.015 <= np.mean([one.p_value < 0.05 for one in found]) <= 0.07


def test_other_ways_miss_the_true_difference_or_are_wide():
    """Why there is one of our own."""
    large, none = Effects(0.9, 0.0, 0.3), Effects(0.0, 0.1, 0.3)
    assert coverage(of_sentences, large, (3, 3), 300, dice())[0] < 0.75
    assert coverage(hierarchical, large, (3, 3), 150, dice(), sentences=50)[0] < 0.92
    assert coverage(summed, none, (3, 3), 300, dice())[0] > 0.98
    (_, narrow), (_, wide) = (coverage(way, none, (3, 3), 300, dice()) for way in (ours, summed))
    assert wide > 1.08 * narrow


# --- on translations ---------------------------------------------------------------------------


def corpus(sentences, words=12):
    generator = dice()
    return [
        [f"w{int(word)}" for word in generator.zipf(1.4, words) if word < 5000] or ["w1"]
        for _ in range(sentences)
    ]


def translate(references, wrong, generator):
    """Every word is another one with this probability."""
    return [
        " ".join("no" if generator.random() < wrong else word for word in words)
        for words in references
    ]


def test_the_variance_over_sentences_is_that_of_sacrebleus_paired_bootstrap():
    references = corpus(400)
    lines = [" ".join(words) for words in references]
    texts = [translate(references, wrong, dice(i)) for i, wrong in enumerate((0.2, 0.23))]
    scores = [score(text, lines) for text in texts]
    picked = dice().integers(0, len(lines), (250, len(lines)))
    for name, metric_class in SACREBLEU.items():
        metric = metric_class()
        counts = [
            np.array(metric._extract_corpus_statistics(text, [lines]), dtype=float)
            for text in texts
        ]
        samples = [
            [metric._compute_score_from_stats(of[i].sum(0)).score for of in counts] for i in picked
        ]
        found = [RunScore(of[name].score, of[name].influences) for of in scores]
        apart = difference([found[0]], [found[1]])
        bootstrap = np.subtract(*np.transpose(samples)).std(ddof=1)
        assert apart.variance**0.5 == pytest.approx(bootstrap, rel=0.2)
        alone = mean_score([found[0]])
        assert alone.variance**0.5 == pytest.approx(np.std(samples, axis=0, ddof=1)[0], rel=0.2)


def test_influences_are_what_leaving_out_each_block_does():
    references = corpus(7)
    lines = [" ".join(words) for words in references]
    text = translate(references, 0.3, dice())
    whole = score(text, lines)["bleu"]
    left_out = [
        BLEU().corpus_score(text[:i] + text[i + 1 :], [lines[:i] + lines[i + 1 :]]).score
        for i in range(7)
    ]
    expected = (np.mean(left_out) - left_out) * (6 / 7) ** 0.5
    assert whole.influences == pytest.approx(expected, abs=1e-4)
    assert len(score(text * 50, lines * 50)["bleu"].influences) == BLOCKS
    assert [*score(text[:1], lines[:1])["bleu"].influences] == []


def test_bleu_of_systems_with_a_known_difference():
    """Counts of n-grams as sacreBLEU keeps them, drawn from how often each system is right."""
    generator, metric = dice(), BLEU()

    def counts(skill, sentences, length=12):
        right = 1 / (1 + np.exp(-skill - generator.normal(0, 0.3, sentences)))
        found = [generator.binomial(length - n, right ** (n + 1)) for n in range(4)]
        lengths = np.full(sentences, length)
        return np.stack([lengths, lengths, *found, *(lengths - n for n in range(4))], axis=1)

    def bleu(of):
        return metric._compute_score_from_stats(of).score

    def scored(skill, sentences):
        found = counts(skill, sentences).astype(float)
        return RunScore(bleu(found.sum(0)), jackknife(found, bleu))

    skills, spread = (0.55, 0.5), 0.03
    many = [
        np.mean([bleu(counts(s + spread * z, 4000).sum(0)) for z in stats.norm.ppf(MIDDLES)])
        for s in skills
    ]
    true, held = many[0] - many[1], 0
    for _ in range(100):
        drawn = [[scored(s + generator.normal(0, spread), 200) for _ in range(3)] for s in skills]
        low, high = difference(*drawn).interval
        held += low <= true <= high
    assert 0.91 <= held / 100 <= 1.0


MIDDLES = (np.arange(20) + 0.5) / 20

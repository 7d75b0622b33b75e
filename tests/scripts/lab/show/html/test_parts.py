"""Scales, samples, tie maps and settings, each by itself."""

import pytest
from sacrebleu.metrics import CHRF

from scripts.lab.records import settings
from scripts.lab.show.html import charts
from scripts.lab.show.html.samples import marked, where_rows_differ
from tests import small_models
from tiednmt.tying import tie_map


def test_linear_scale():
    scale = charts.Scale(10, 20, start=100, end=0)
    assert [scale(value) for value in (10, 15, 20)] == [100, 50, 0]
    assert [(tick.at, tick.label) for tick in scale.ticks] == [
        (100, "10"),
        (80, "12"),
        (60, "14"),
        (40, "16"),
        (20, "18"),
        (0, "20"),
    ]


def test_logarithmic_scale():
    scale = charts.Scale(10, 1000, start=0, end=100, logarithmic=True)
    assert scale(100) == 50
    assert [tick.label for tick in scale.ticks] == ["10", "20", "50", "100", "200", "500", "1,000"]


@pytest.mark.parametrize("low, high", [(0.0012, 0.0013), (36.4, 38.9), (0, 7.2e6), (-3, 2)])
def test_ticks_lie_within_the_range(low, high):
    ticks = charts.Scale(low, high, start=0, end=1).ticks
    assert 3 <= len(ticks) <= 7
    for tick in ticks:
        value = float(tick.label.replace(",", ""))
        assert tick.at == pytest.approx((value - low) / (high - low), abs=0.01)


def test_sentences_where_rows_differ():
    references = ["the cat sat down", "a dog ran away", "birds sing", "it rains"]
    translations = {
        "one": ["the cat sat down", "a dog ran away", "bees hum", "it rains"],
        "two": ["the cat sat up", "zzz qqq", "bees hum", "it pours"],
    }
    found = where_rows_differ(list("abcd"), references, translations, count=2)
    # the third is equally wrong in both, the second the widest gap there can be
    assert [sample.line for sample in found] == [2, 4]
    assert found[0].source == "b" and found[0].gap == pytest.approx(100, abs=10)
    for sample in found:
        for translation in sample.translations:
            text = translations[translation.row][sample.line - 1]
            assert " ".join(words for words, _ in translation.words) == text
            expected = CHRF().sentence_score(text, [sample.reference]).score
            assert translation.chrf == pytest.approx(expected)


def test_marked_words():
    assert marked("a x c d y", "a b c d") == (
        ("a", False),
        ("x", True),
        ("c d", False),
        ("y", True),
    )
    assert marked("", "a b") == ()
    assert marked("a b", "") == (("a b", True),)


@pytest.mark.parametrize(
    ("tying", "spans"), [("none", [1, 1, 1]), ("decoder", [1, 2]), ("three-way", [3])]
)
def test_tied_matrices_are_one_cell(tying, spans):
    models = {name: small_models.model(name) for name in ("none", tying)}
    ties = {name: tie_map(model.embeddings, model) for name, model in models.items()}
    names = tie_maps.columns(ties)
    assert names[:3] == [
        "source input embedding",
        "target input embedding",
        "output embedding",
    ]
    cells = list(tie_maps.cells(ties[tying], names))
    assert [span for span, piece in cells if piece.shape] == spans
    assert sum(span for span, _ in cells) == len(names)
    in_all = sum(parameter.numel() for parameter in models[tying].parameters())
    assert sum(piece.parameters for _, piece in cells) == in_all


def test_settings_side_by_side():
    found = settings.compare(
        [
            {"model": {"_name": "a", "cpu": False}, "optimization": {"lr": [1, 0.5]}},
            {"model": {"_name": "b", "projection": True}, "optimization": {"lr": [1, 0.5]}},
        ]
    )
    assert found.common == {"--lr": "1,0.5"}
    assert found.apart == {"--arch": ("a", "b"), "--projection": (None, "")}

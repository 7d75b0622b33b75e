"""Sentences and their translations, by how far the rows differ."""

import pytest
from sacrebleu.metrics import CHRF

from scripts.lab.show.html.samples import marked, where_rows_differ


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

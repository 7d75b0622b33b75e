from collections import Counter

import pytest

from preprocess import subwords
from preprocess.subwords import TextPart, count_words, merged_counts
from tiednmt.errors import UserError
from tiednmt.text.counts import read_counts


@pytest.mark.parametrize("in_memory", [3, 1000])
@pytest.mark.parametrize(("workers", "worth"), [(1, 0), (2, 0), (2, 1000)])
def test_words_are_counted_without_those_of_marked_pairs(
    monkeypatch, tmp_path, in_memory, workers, worth
):
    monkeypatch.setattr(subwords, "WORDS_IN_MEMORY", in_memory)
    monkeypatch.setattr(subwords, "WORTH_PROCESSES", worth)
    texts = {
        "0.en": ["b a", "a", "c d e f"],
        "0.de": ["ä", "b b", "z"],
        "1.en": ["a é 𝔸", ""],
        "1.de": ["x", "y"],
        "2.en": ["late"],
        "2.de": ["spät"],
    }
    for name, lines in texts.items():
        (tmp_path / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    (tmp_path / "0.marks").write_bytes(bytes([0, 1, 0]))
    parts = [
        TextPart((tmp_path / f"{n}.en", tmp_path / f"{n}.de"), marks)
        for n, marks in enumerate([tmp_path / "0.marks", None, None])
    ]
    outputs = [tmp_path / "out" / "words.en", tmp_path / "out" / "words.de"]
    count_words(parts, outputs, workers)

    del texts["0.en"][1], texts["0.de"][1]
    for output in outputs:
        lines = [line for name in texts if name.endswith(output.suffix) for line in texts[name]]
        expected = Counter(word for line in lines for word in line.split())
        assert list(read_counts(output)) == sorted(expected.items())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["words.de", "words.en"]


def test_counts_of_the_same_word_are_added_up():
    one, other = [("a", 1), ("c", 2)], [("a", 5), ("b", 1)]
    assert list(merged_counts(one, other, [])) == [("a", 6), ("b", 1), ("c", 2)]


def test_a_text_of_single_letters_has_nothing_to_merge(tmp_path):
    for code in ("en", "de"):
        (tmp_path / f"words.{code}").write_text("a 5\nb 6\n")
    words = [tmp_path / "words.en", tmp_path / "words.de"]
    with pytest.raises(
        UserError, match=r"words\.de: too little text to learn merges from.*more training text"
    ):
        subwords.learn_subword_nmt(words, tmp_path, ("en", "de"), 7, workers=1)


@pytest.mark.parametrize("words", [10, 2000])
def test_sentencepiece_learns_from_lines_of_any_length(tmp_path, words):
    for code in ("en", "tr"):
        (tmp_path / code).write_text("şöyle " * words + "\n")
        (tmp_path / f"words.{code}").write_text(f"şöyle {words}\n")
    text = TextPart((tmp_path / "en", tmp_path / "tr"), None)
    counted = [tmp_path / "words.en", tmp_path / "words.tr"]
    subwords.learn_sentencepiece([text], counted, tmp_path, ("en", "tr"), 15, 1, near=True)
    assert list(read_counts(tmp_path / "vocab.tr")) == [("▁şöyle", words)]


def test_merges_are_learnt_from_the_most_frequent_words(monkeypatch, tmp_path):
    monkeypatch.setattr(subwords, "LEARNED_WORDS", 2)
    (tmp_path / "words.en").write_text("ab 5\ncd 1\n")
    (tmp_path / "words.de").write_text("ab 1\nef 9\ngh 4\n")
    words = [tmp_path / "words.en", tmp_path / "words.de"]
    subwords.learn_subword_nmt(words, tmp_path, ("en", "de"), 9, workers=1)
    assert (tmp_path / "codes").read_text() == "#version: 0.2\ne f</w>\na b</w>\n"
    assert (tmp_path / "vocab.de").read_text() == "ef 9\ng@@ 4\nh 4\nab 1\n"

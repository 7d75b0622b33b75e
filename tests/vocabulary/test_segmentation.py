import random
from collections import Counter
from dataclasses import replace

import pytest

from tests.support.small_prepared import LETTERS, prepare, sentences, words_of
from tiednmt.errors import UserError
from tiednmt.text.pipeline import TextPipeline, TextSettings
from tiednmt.vocabulary.byte_pairs import BytePairSubwords
from tiednmt.vocabulary.files import read_subwords
from tiednmt.vocabulary.segmentation import is_character, language_of

SETTINGS = {kind: TextSettings("en", "de", kind, 2) for kind in ("bpe", "sentencepiece")}


@pytest.fixture(scope="module", params=["bpe", "sentencepiece"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("prepared") / "corpus", kind)


@pytest.fixture(scope="module")
def subwords(folder, kind):
    return read_subwords(folder / "bpe", SETTINGS[kind])


def test_units_are_those_of_the_pipeline(folder, subwords):
    pipeline = TextPipeline.load(folder)
    for code in LETTERS:
        for line in sentences(code, 20):
            assert " ".join(subwords.units(line, code)) == pipeline.encode(line, code)


def test_what_is_written_is_read(subwords, kind, tmp_path):
    subwords.write(tmp_path)
    again = read_subwords(tmp_path, SETTINGS[kind])
    assert again == subwords


def test_merges_of_a_number_sign_are_read(tmp_path):
    """Only the first line is a comment, if it names a version."""
    merges = ["# x", "#x </w>", "#version: 1</w>"]
    for first in (["#version: 0.2"], []):
        folder = tmp_path / str(len(first))
        folder.mkdir()
        (folder / "codes").write_text("\n".join([*first, *merges]) + "\n")
        for code in ("en", "de"):
            (folder / f"vocab.{code}").write_text("#x 9\n")
        read = read_subwords(folder, SETTINGS["bpe"])
        assert [" ".join(pair) for pair in read.merges] == merges


@pytest.mark.parametrize("seed", range(6))
def test_a_text_is_segmented_as_before_by_what_it_needs(subwords, seed):
    """Also where words were split again for want of units of their language."""
    lines = {c: sentences(c, 5, seed, words_of(c, 15, 2 if seed % 2 else seed)) for c in LETTERS}
    units = {c: [subwords.units(line, c) for line in lines[c]] for c in LETTERS}
    kept = {unit for code in LETTERS for line in units[code] for unit in line}
    tokens = [token for c in LETTERS for line in lines[c] for token in subwords.tokens(line, c)]
    smaller = subwords.trimmed(kept, tokens)
    for code in LETTERS:
        assert [smaller.units(line, code) for line in lines[code]] == units[code]
        assert set(smaller.vocabularies[code]) <= kept
    if isinstance(smaller, BytePairSubwords):
        assert len(smaller.merges) < len(subwords.merges)


def test_other_text_is_split_down_to_characters(subwords):
    kept = {unit for v in subwords.vocabularies.values() for unit in v if is_character(unit)}
    smaller = subwords.trimmed(kept, [])
    units = {u for c in LETTERS for line in sentences(c, 20) for u in smaller.units(line, c)}
    assert all(is_character(unit) for unit in units)


@pytest.mark.parametrize("seed", range(4))
def test_a_further_language(subwords, seed):
    """Old text stays as it was; new text is shorter; new units are made of old ones."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("aehklz", k=chance.randint(3, 8))) for _ in range(20)]
    lines = [" ".join(chance.choices(words, k=5)) for _ in range(40)]
    larger = subwords.extended(lines, "cs", 40, None)
    for code in LETTERS:
        for line in sentences(code, 60):
            assert larger.units(line, code) == subwords.units(line, code)
        assert larger.vocabularies[code] == dict(subwords.vocabularies[code])
    before = subwords.extended(lines, "cs", 0, None)
    plain = [before.units(line, "cs") for line in lines]
    merged = [larger.units(line, "cs") for line in lines]
    assert sum(map(len, merged)) < 0.8 * sum(map(len, plain))
    known = {u for v in subwords.vocabularies.values() for u in v} | {
        u for line in plain for u in line
    }
    mark = "@@" if isinstance(subwords, BytePairSubwords) else ""
    new = {u for line in merged for u in line} - known
    assert new
    for unit in new:
        parts = larger.parts_of(unit, known)
        assert len(parts) > 1
        assert set(parts) <= known
        assert "".join(p.removesuffix(mark) for p in parts) == unit.removesuffix(mark)
        spelled = larger.spelled(unit, known)
        assert set(spelled) <= known
        assert "".join(p.removesuffix(mark) for p in spelled) == unit.removesuffix(mark)


def test_a_further_language_of_other_letters(subwords):
    """Its words are of characters that no unit has."""
    chance = random.Random(1)
    words = ["".join(chance.choices("бвгджз", k=chance.randint(3, 8))) for _ in range(20)]
    lines = [" ".join(chance.choices(words, k=5)) for _ in range(40)]
    larger = subwords.extended(lines, "ru", 20, None)
    assert len(larger.vocabularies["ru"]) <= 20 + 2 * 6 + 1  # merges, letters by their place, ▁
    units = [larger.units("".join(chance.choices("бвгджз", k=30)), "ru") for _ in range(20)]
    unknown = {unit for line in units for unit in line} - {*larger.vocabularies["ru"]}
    assert all(map(is_character, unknown))  # no run of them is a unit
    for code in LETTERS:
        for line in sentences(code, 60):
            assert larger.units(line, code) == subwords.units(line, code)


def test_counts_are_those_of_the_segmented_text(kind, tmp_path):
    """Whatever was counted before rare units were split; see :func:`prepare`."""
    folder = prepare(tmp_path / "corpus", kind, threshold=20)
    subwords = read_subwords(folder / "bpe", TextSettings("en", "de", kind, 20))
    for code in LETTERS:
        text = (folder / "raw" / f"train.{code}").read_text().splitlines()
        expected = Counter(unit for line in text for unit in subwords.units(line, code))
        assert subwords.counts(code) == expected
        assert expected != subwords.vocabularies[code]


@pytest.mark.parametrize("usual", ["’", "'"])
def test_a_further_language_is_written_with_its_own_apostrophe(subwords, usual, tmp_path):
    line = f"l{usual}ahe l{usual}ek"
    larger = subwords.extended([line] * 3, "fr", 0, None)
    larger.write(tmp_path)
    pipeline = TextPipeline(replace(larger.settings, target="fr"), tmp_path)
    assert pipeline.decode(pipeline.encode(line, "fr"), "fr") == line
    again = larger.extended(["l'ahe l'ek l’ahe l’ahe"], "fr", 0, None)  # it is known now
    assert again.settings == larger.settings


def test_further_text_of_a_language_that_there_is(subwords, kind):
    """A new unit that the old text would get is not for this language."""
    old = sorted({t for line in sentences("en", 60) for t in subwords.tokens(line, "en")})
    words = [*words_of("en", 30, seed=9), *words_of("en")[:10]]
    lines = sentences("en", 60, seed=4, words=words)
    larger = subwords.extended(lines, "en", 60, old)
    for token in old:
        assert larger.units_of_token(token, "en") == subwords.units_of_token(token, "en")
    assert set(larger.vocabularies["en"]) > set(subwords.vocabularies["en"])


def test_a_model_of_sentencepiece_that_merges_nothing(tmp_path):
    from sentencepiece import SentencePieceTrainer

    lines = sentences("en", 60)
    prefix = str(tmp_path / "sentencepiece")
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=prefix, vocab_size=40, minloglevel=2
    )
    for code in LETTERS:
        (tmp_path / f"vocab.{code}").write_text("a 5\n")
    subwords = read_subwords(tmp_path, SETTINGS["sentencepiece"])
    with pytest.raises(UserError, match=r"only sentencepiece models of type BPE .* --symbols"):
        subwords.extended(lines, "cs", 5, None)


def test_which_language_a_text_is(tmp_path):
    assert language_of(tmp_path / "test_2016.en", ["en", "de"]) == "en"
    assert language_of(tmp_path / "train.de.gz", ["en", "de"]) == "de"
    for name in ("text.txt", "en-de.tsv"):
        with pytest.raises(UserError, match="cannot tell its language"):
            language_of(tmp_path / name, ["en", "de"])

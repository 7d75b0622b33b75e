"""What the adviser takes from records, and the pairs that it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preprocess import bitext
from scripts.lab.advice import measured_pairs
from scripts.lab.score.overlap import pair_in
from scripts.lab.store import RESULTS, read_record
from tests.support import records
from tiednmt.errors import UserError


@pytest.fixture
def found(tmp_path):
    """What is measured by these records of translation experiments."""

    def of(*contents):
        for i, content in enumerate(contents):
            (tmp_path / f"{i}.json").write_text(json.dumps(content))
        return measured_pairs(tmp_path)

    return of


def test_a_tied_row_beside_the_untied_one(found):
    (pair,) = found(records.translation(), records.language_model())
    assert (pair.name, pair.model, pair.tokens) == ("some", "tied_gru", 30 * 100)
    assert pair.in_both == 0.4 and pair.scripts == ({"Latin": 1.0}, {"Latin": 1.0})
    (row,) = pair.rows
    assert (row.name, row.tying, row.share, row.options) == ("three-way", "three-way", 0.5, "")
    assert str(row.differences["test"]) == "-0.25 (p = 0.504, not worse by more than 0.98)"
    assert not row.worse


def test_several_seeds_are_compared_over_seeds_and_sentences(found):
    """Means of 31.33 and 31.08, far closer than seeds and sentences make them."""
    (pair,) = found(records.translation(seeds=3))
    difference = pair.rows[0].differences["test"]
    assert difference.bleu == pytest.approx(-0.25)
    assert difference.p_value > 0.3 and 0.5 < difference.not_worse_by < 2


def test_the_best_untied_row_is_what_counts(found):
    """Of two, the one with the higher BLEU."""
    record = records.translation()
    better = json.loads(json.dumps(record["rows"][0]))
    better["name"] = "none x 4"
    better["recipe"]["model"]["input_scale"] = "4"
    bleu = better["test"]["test"]["bleu"]
    bleu["over_seeds"]["mean"] = bleu["seeds"][0]["score"] = 32.0
    for row in record["rows"]:
        row["recipe"]["model"]["input_scale"] = "1"
    record["rows"].append(better)
    record["curves"]["none x 4"] = record["curves"]["none"]
    record["samples"][0]["none x 4"] = "Er ging."
    (pair,) = found(record)
    (row,) = pair.rows
    assert row.options == "--input-scale 1"
    assert row.differences["test"].bleu == -1


def test_records_without_an_untied_or_a_tied_row_say_nothing(found):
    alone = records.translation()
    alone["rows"][0]["recipe"]["model"]["tying"] = "decoder"
    stock = records.translation()
    for row in stock["rows"]:
        del row["recipe"]["model"]["tying"]
    assert found(alone, stock) == []


def test_the_kept_records_are_found():
    pairs = {pair.name: pair for pair in measured_pairs(RESULTS)}
    assert {"demo", "multi30k-en-de", "multi30k-en-fr"} <= pairs.keys()
    for name, pair in pairs.items():
        record = read_record(RESULTS / f"{name}.json")
        tyings = {row.recipe["model"].get("tying") for row in record.rows} - {"none", None}
        assert {row.tying for row in pair.rows} == tyings
        assert pair.written_alike
        assert all(row.share > 0 and row.differences for row in pair.rows)


# --- pairs -------------------------------------------------------------------------------------


ENGLISH = ["the cat sees the dog .", "the dog sees 12 cats ."] * 30
RUSSIAN = ["кошка видит собаку .", "собака видит 12 кошек ."] * 30
JAPANESE = ["猫は犬を見る。", "犬は12匹の猫を見る。"] * 30
GERMAN = ["die Katze sieht den Hund .", "der Hund sieht 12 Katzen ."] * 30


@pytest.fixture
def texts(tmp_path):
    def write(source, target, names=("train.xx", "train.yy")):
        paths = [tmp_path / name for name in names]
        for path, lines in zip(paths, (source, target), strict=True):
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return paths

    return write


def test_raw_texts_are_segmented(texts):
    """With so many merges whole words are units; the counts are those of the words."""
    pair, overlap = pair_in(texts(ENGLISH, GERMAN, ("train.en", "train.de")), merges=200)
    assert pair.name == "en-de"
    units = {"the", "cat", "cats", "sees", "dog"}, {"die", "der", "den", "Katze", "Katzen", "sieht"}
    assert pair.vocabulary["both"] == 2  # 12 and the full stop
    assert pair.vocabulary["source_only"] == len(units[0])
    assert pair.vocabulary["target_only"] == len(units[1]) + 1  # Hund
    assert overlap.with_letters == 0
    assert overlap.source.units == 30 * (6 + 6) and overlap.source.shared == 3 / 12
    assert pair.written_alike


def test_raw_texts_are_segmented_as_preparing_them_does(texts, tmp_path):
    for target, lines in (("de", GERMAN), ("ja", JAPANESE)):
        paths = texts(ENGLISH, lines, ("train.en", f"train.{target}"))
        pair, overlap = pair_in(paths, merges=40)
        files, dest = [*map(str, paths)], tmp_path / f"dest-{target}"
        of_text = ["--source", "en", "--target", target, "--train", *files, "--valid", *files]
        bitext.main([*of_text, "--dest", str(dest), "--merges", "40", "--workers", "1"])
        assert pair_in([dest]) == (pair, overlap)


def test_texts_in_two_scripts(texts):
    pair, overlap = pair_in(texts(ENGLISH, RUSSIAN, ("a.eng.txt", "a.rus.txt")), merges=200)
    assert pair.name == "eng-rus"
    assert pair.scripts == ({"Latin": 1.0}, {"Cyrillic": 1.0})
    assert overlap.with_letters == 0 and not pair.written_alike


def test_segmented_texts_are_taken_as_they_are(texts):
    pair, overlap = pair_in(texts(["a@@ b c"], ["c a@@ d", "a@@ d"]))
    assert [pair.vocabulary[key] for key in ("source_only", "target_only", "both")] == [1, 1, 2]
    assert overlap.target.shared == 0.6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["gone"], "--advise gone: give a prepared folder, a data-bin, or two text files"),
        (["a", "b", "c"], "--advise a b c: give a prepared folder"),
        (["."], "neither a prepared folder nor a data-bin of two languages"),
        (["gone.en", "gone.de"], r"gone\.en: no such file"),
    ],
)
def test_what_is_no_pair_is_refused(given, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        pair_in([Path(one) for one in given])

"""Attention of given sentences, words of subword vocabularies: on a prepared translation corpus."""

from __future__ import annotations

import json

import pytest

from scripts import analyse
from tests.support.pictures import drawn
from tests.support.untrained import save_untrained
from tiednmt.analysis.checkpoints import load

pytestmark = pytest.mark.slow

SIDES = ("encoder", "decoder")
LSTM = ("embed-dim", "hidden-size")
TRANSFORMER = {"embed-dim": 32, "ffn-embed-dim": 48, "attention-heads": 4, "layers": 2}
MODELS = {
    "tied_gru": ("--arch", "tied_gru_tiny", "--tying", "three-way"),
    "tied_transformer": ("--arch", "tied_transformer_tiny", "--tying", "three-way"),
    "tied_lstm": (
        *("--arch", "tied_lstm_tiny", "--encoder-embed-dim", 24, "--decoder-embed-dim", 40),
        *("--decoder-out-embed-dim", 56),
    ),
    "lstm": (
        *("--arch", "lstm", "--decoder-out-embed-dim", 24),
        *(word for side in SIDES for name in LSTM for word in (f"--{side}-{name}", 24)),
    ),
    "transformer": (
        *("--arch", "transformer_iwslt_de_en", "--share-all-embeddings"),
        *(
            word
            for side in SIDES
            for name, n in TRANSFORMER.items()
            for word in (f"--{side}-{name}", n)
        ),
    ),
}


@pytest.fixture(scope="module")
def record(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("attention")
    for name, options in MODELS.items():
        save_untrained(
            folder / f"{name}.pt", prepared / "data-bin", "-s", "en", "-t", "de", *options
        )
    lines = (prepared / "raw" / "test.en").read_text().splitlines()[:2]
    (folder / "sentences").write_text("\n".join(lines) + "\n")
    words = [word for word in lines[0].rstrip(".").split() if word.isalpha()][:3]
    (folder / "set.txt").write_text("".join(f"{w} {words[0]}s {i}\n" for i, w in enumerate(words)))
    with drawn("attention-lstm-2"):
        analyse.main(
            [
                *(f"{name}={folder / name}.pt" for name in MODELS),
                *("--data", str(prepared), "--sentences", str(folder / "sentences")),
                *("--similarity", str(folder / "set.txt"), "--out", str(folder / "out"), "--cpu"),
            ]
        )
    assert (folder / "out" / "attention-lstm-2.png").stat().st_size > 200
    return json.loads((folder / "out" / "analysis.json").read_text())


@pytest.mark.parametrize("name", MODELS)
def test_weights(name, record, prepared):
    (found,) = (c for c in record["checkpoints"] if c["name"] == name)
    segmented = (prepared / "bpe" / "test.en").read_text().splitlines()[:2]
    for sentence, units in zip(found["attention"], segmented, strict=True):
        assert sentence["source"] == [*units.split(), "</s>"]
        assert len(sentence["weights"]) == len(sentence["target"]) == len(sentence["alignment"])
        for number, row in enumerate(sentence["weights"]):
            assert len(row) == len(sentence["source"])
            assert sum(row) == pytest.approx(1, abs=0.01)
            target, source = sentence["alignment"][number]
            assert target == number
            assert row[source] == max(row)


def test_words_are_composed_of_units_where_the_language_is_that_of_the_set(record, prepared):
    by = record["similarity"]["set"]["by"]
    tied = {"tied_gru S", "tied_transformer S", "transformer S"}
    assert set(by) == {*tied, "tied_lstm U_src", "lstm U_src"}
    assert all(found["covered"] == 3 for found in by.values())
    manifest = json.loads((prepared / "manifest.json").read_text())
    for checkpoint in record["checkpoints"]:
        assert checkpoint["subwords"]
        assert checkpoint["vocabulary"] == {
            key: manifest["vocabulary"][key] for key in ("source_only", "target_only", "both")
        }


def test_the_library_alone_reads_a_data_bin(prepared, tmp_path):
    save_untrained(tmp_path / "m.pt", prepared / "data-bin", *MODELS["tied_gru"])
    found = load(tmp_path / "m.pt", prepared / "data-bin")  # languages from the files' names
    assert [sorted(e.languages) for e in found.embeddings] == [["de", "en"]]

"""The command that analyses checkpoints, on small ones."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gensim.models import KeyedVectors
from scipy.stats import spearmanr

import tiednmt
from tests.support.commandline import run
from tests.support.pictures import drawn
from tests.support.translators import in_parts, prepared_folder, save_translator
from tests.support.untrained import save_untrained, write_dictionaries
from tiednmt.analysis.embeddings import Embedding
from tiednmt.analysis.word_vectors import save_word2vec
from tiednmt.commands import analyse
from tiednmt.embeddings.analyse import NamedModel, load
from tiednmt.embeddings.figures import figures
from tiednmt.embeddings.record import SetSimilarities, Similarity, read_analysis
from tiednmt.show.markdown import page

WORDS = [f"w{i}" for i in range(24)]
LM = ("--task", "tied_language_modeling", "--arch", "tied_lstm_lm", "--hidden-size", 6)
LM = (*LM, "--embed-dim", 6)
SET = "w1 w2 3\nw3 w4 5\nw5 w6 1\nw1 zebra 2\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An untied and a tied model, and word-similarity sets, one of which no word is known of."""
    folder = tmp_path_factory.mktemp("analysis")
    data_bin = write_dictionaries(folder / "data" / "data-bin", "dict.txt", words=WORDS)
    save_untrained(folder / "none.pt", data_bin, *LM)
    save_untrained(folder / "tied.pt", data_bin, *LM, "--tying", "decoder", "--projection")
    (folder / "sets").mkdir()
    (folder / "sets" / "mine.txt").write_text(SET)
    (folder / "sets" / "foreign.txt").write_text("lion tiger 3\nlion mouse 1\n")
    (folder / "row-movement.jsonl").write_text(
        '{"update": 1, "matrices": {"input embedding": '
        '[{"ranks": [1, 10], "moved": 4, "distance": 0.5}]}}\n'
    )
    use = '{"norm": %g, "share": 0.5, "bands": [{"ranks": [1, 10], "norm": %g}]}'
    (folder / "gradient-shares.jsonl").write_text(
        "".join(
            f'{{"update": {update}, "uses": {{"input embedding": {use % (1, 1)}, '
            f'"output embedding": {use % (output, output)}}}, "cosines": {{}}}}\n'
            for update, output in ((0, 3.0), (50, 1.0))
        )
    )
    return folder


@pytest.fixture(scope="module")
def out(folder):
    analyse.main(
        [
            *(f"none={folder / 'none.pt'}", f"tied={folder / 'tied.pt'}"),
            *("--data", str(folder / "data"), "--similarity", str(folder / "sets")),
            *("--words", "w3", "zebra", "--map-words", "20", "--export", "word2vec"),
            *("--out", str(folder / "out")),
        ]
    )
    return folder / "out"


def analyse_undrawn(*arguments):
    """The command on what no test looks at the pictures of."""
    with drawn():
        analyse.main([*map(str, arguments)])


@pytest.fixture(scope="module")
def record(out):
    return json.loads((out / "analysis.json").read_text())


def exported(out, name):
    return KeyedVectors.load_word2vec_format(str(out / f"{name}.vec"))


def test_similarity_is_that_of_the_exported_vectors(record, out):
    mine = record["similarity"]["mine"]
    assert mine["pairs"] == 4
    assert list(mine["by"]) == ["none U", "none V", "tied S", "tied P·V"]
    for name, file in (("none U", "none-U"), ("none V", "none-V"), ("tied P·V", "tied-PV")):
        vectors = exported(out, file)
        cosines = [vectors.similarity(f"w{i}", f"w{i + 1}") for i in (1, 3, 5)]
        assert mine["by"][name]["covered"] == 3
        assert mine["by"][name]["rho"] == pytest.approx(spearmanr(cosines, [3, 5, 1]).statistic)


def test_a_set_of_which_no_word_is_known(record, out):
    foreign = record["similarity"]["foreign"]
    assert foreign == {
        "pairs": 2,
        "by": {name: {"rho": None, "covered": 0} for name in record["similarity"]["mine"]["by"]},
    }
    assert "| foreign | 0 of 2 | – | – | – | – |" in (out / "tables.md").read_text()


def rho_of(record, *names):
    (found,) = (pair for pair in record["likeness"]["by"] if pair["of"] == [*names])
    return found["rho"]


def test_likeness_is_that_of_the_exported_vectors(record, out):
    found = record["likeness"]
    assert (found["words"], found["pairs"], found["exact"]) == (24, 24 * 23 // 2, True)
    assert len(found["by"]) == 6
    upper = np.triu_indices(24, 1)
    cosines = []
    for name in ("none-U", "tied-S"):
        rows = exported(out, name).get_normed_vectors().astype(float)
        cosines.append((rows @ rows.T)[upper])
    expected = spearmanr(*cosines).statistic
    assert rho_of(record, "none U", "tied S") == pytest.approx(expected, abs=1e-5)


def test_checkpoints(record):
    none, tied = record["checkpoints"]
    assert (none["name"], none["architecture"]) == ("none", "tied_lstm_lm")
    (matrix,) = tied["tie_map"]["matrices"]
    assert matrix == {
        "names": ["input embedding", "output embedding"],
        "shape": [len(WORDS) + 4, 6],
    }
    assert len(none["tie_map"]["matrices"]) == 2
    u = none["matrices"]["U"]
    assert len(u["map"]["points"]) == len(u["map"]["words"]) == 20
    assert [band["ranks"] for band in u["norms"]] == [[1, 10], [11, 24]]
    assert len(u["neighbours"]["w3"]) == 8
    assert u["neighbours"]["zebra"] == []
    assert none["row_movement"]["matrices"]["input embedding"][0]["moved"] == 4
    assert none["gradients"]["updates"] == [0, 50]
    assert none["gradients"]["uses"]["output embedding"]["norms"] == [3.0, 1.0]


def test_files(out):
    names = ("parameters", "word-similarity", "likeness", "norms", "map-none", "row-movement-tied")
    names += ("gradient-shares-none",)
    for name in names:
        for suffix in (".png", ".svg"):
            assert (out / f"{name}{suffix}").stat().st_size > 200
    tables = (out / "tables.md").read_text()
    assert re.search(r"\| mine \| 3 of 4 \| -?\d\.\d{3} \|", tables)
    assert "not in the vocabulary" in tables
    assert "| none | output | 75 | 50 |" in tables
    assert not list(out.glob("*.partial*"))


def test_word_vectors_beside_a_checkpoint(out, folder, tmp_path):
    analyse_undrawn(
        *(f"none={folder / 'none.pt'}", f"vectors={out / 'none-U.vec'}"),
        *("--data", folder / "data", "--out", tmp_path),
    )
    record = json.loads((tmp_path / "analysis.json").read_text())
    assert rho_of(record, "none U", "vectors U") == pytest.approx(1.0, abs=1e-6)
    assert "tie_map" not in record["checkpoints"][1]
    assert record["similarity"] == {}


def test_old_checkpoints_of_torch_are_no_word_vectors(folder, tmp_path):
    """Published models of fairseq are pickles, as gensim's files are."""
    state = torch.load(folder / "none.pt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    model = load("old", tmp_path / "old.pt", folder / "data")
    assert [embedding.name for embedding in model.embeddings] == ["U", "V"]


@pytest.mark.parametrize("data", ["", "data-bin/shard0"])
def test_words_of_a_corpus_in_parts_are_composed_of_units(data, tmp_path):
    """``dog`` is two units, wherever the folder says it."""
    prepared = in_parts(prepared_folder(tmp_path / "prepared"))
    save_translator(tmp_path / "m.pt", prepared, data_bin="data-bin/shard0")
    (tmp_path / "set.txt").write_text("dog w1 3\nw2 w3 5\n")
    given = (tmp_path / "m.pt", "--data", prepared / data, "--out", tmp_path / "out")
    analyse_undrawn(*given, "--similarity", tmp_path / "set.txt", "--words", "dog")
    record = json.loads((tmp_path / "out" / "analysis.json").read_text())
    (model,) = record["checkpoints"]
    assert model["subwords"]
    assert len(model["matrices"]["S"]["neighbours"]["dog"]) == 8
    assert [by["covered"] for by in record["similarity"]["set"]["by"].values()] == [2]


def test_attention_is_that_of_the_translations(tmp_path):
    prepared = prepared_folder(tmp_path / "prepared")
    save_translator(tmp_path / "m.pt", prepared)
    (tmp_path / "text").write_text("w3 w7 dog\n\nw1\n")
    given = [f"m={tmp_path / 'm.pt'}", "--data", str(prepared), "--cpu"]
    given += ["--sentences", str(tmp_path / "text"), "--out", str(tmp_path / "out")]
    analyse.main(given)
    (model,) = json.loads((tmp_path / "out" / "analysis.json").read_text())["checkpoints"]
    translator = tiednmt.load(tmp_path / "m.pt", data=prepared, cpu=True)
    first, _, last = translator.translate(["w3 w7 dog", "", "w1"], details=True)
    for found, expected in zip(model["attention"], (first, last), strict=True):
        assert found["source"] == [*expected.source_units, "</s>"]
        assert found["target"] == [*expected.units, "</s>"]
        weights = np.array(found["weights"])
        np.testing.assert_allclose(weights, expected.attention, atol=6e-5)
        places = np.argmax(expected.attention, axis=1)
        assert found["alignment"] == [[i, int(place)] for i, place in enumerate(places)]
    assert first.source_units == ("w3", "w7", "d@@", "og")


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        (("--decoder-attention", 0), "prepared", r"m\.pt: the model gives no attention"),
        ((), "bare", r"--sentences: .*bare is in no prepared folder"),
    ],
)
def test_sentences_refused(options, data, message, tmp_path):
    bare = prepared_folder(tmp_path / "prepared") / "data-bin"
    shutil.copytree(bare, tmp_path / "bare")
    sizes = ("--encoder-embed-dim", 8, "--decoder-embed-dim", 8, "--decoder-out-embed-dim", 8)
    sizes += ("--encoder-hidden-size", 8, "--decoder-hidden-size", 8)
    translation = ("-s", "en", "-t", "de", "--task", "translation", "--arch", "lstm")
    save_untrained(tmp_path / "m.pt", bare, *translation, *sizes, *options)
    (tmp_path / "text").write_text("w3\n")
    given = [str(tmp_path / "m.pt"), "--data", str(tmp_path / data), "--cpu"]
    given += ["--sentences", str(tmp_path / "text"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=message):
        analyse.main(given)


class Pipeline:
    """Segments as a joint vocabulary does: each language has words of its own, whole."""

    def segment(self, word, language):
        return word if word in {"en": ["dog"], "de": ["Hund", "die"]}[language] else " ".join(word)


def test_words_of_either_language_of_a_shared_vocabulary():
    both, german = (
        Embedding("S", ("dog",), np.ones((1, 2), np.float32), frozenset(languages))
        for languages in ({"en", "de"}, {"de"})
    )
    model = NamedModel("x", Path("x.pt"), None, (both, german), Pipeline())
    assert model.units(both)("dog") == ["dog"]
    assert model.units(both)("Hund") == ["Hund"]
    assert model.units(both, "en")("die") == ["d", "i", "e"]  # an English set's, not German
    assert model.units(german, "en")("die") == ["die"]


def test_embeddings_that_no_set_is_for_are_named(out):
    analysis = read_analysis(out / "analysis.json")
    mine = SetSimilarities(pairs=4, by={"none V": Similarity(rho=0.5, covered=3)})
    text = page(figures(replace(analysis, similarity={"mine": mine})))
    assert "Left out, since the sets are English: none U, tied S, tied P·V." in text
    assert "Left out" not in page(figures(analysis))


def test_bytes_of_every_model(record, out):
    """In single precision: four a parameter."""
    none = record["checkpoints"][0]["tie_map"]
    sizes = [rows * dim for rows, dim in (matrix["shape"] for matrix in none["matrices"])]
    total = sum(sizes) + sum(none["others"].values())
    assert none["bytes_per_parameter"] == 4
    text = (out / "tables.md").read_text()
    assert f"| {total:,} ({4 * total / 1e6:.1f} MB stored) | {total:,} |" in text


def test_words_in_a_script_without_a_font(tmp_path, capsys):
    """One line, not one a character."""
    words = tuple(chr(0x1B170 + i) for i in range(5))  # Nüshu
    rows = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    save_word2vec(Embedding("U", words, rows), tmp_path / "x.vec")
    analyse.main([str(tmp_path / "x.vec"), "--out", str(tmp_path / "out")])
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "font" in line] == lines and len(lines) <= 1
    assert list((tmp_path / "out").glob("map-*.png"))


def test_a_run_is_called_by_its_folder(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "checkpoint_best.pt").write_bytes((folder / "none.pt").read_bytes())
    checkpoint = tmp_path / "mine" / "checkpoint_best.pt"
    analyse_undrawn(checkpoint, "--data", folder / "data", "--out", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert [checkpoint["name"] for checkpoint in found["checkpoints"]] == ["mine"]


REFUSED = {
    "not a number": (["{folder}/nan.vec"], r"nan\.vec: .*line 2: a number that is not finite"),
    "no such checkpoint": (["{folder}/gone.pt"], r"gone\.pt: no such checkpoint"),
    "a folder": (["{folder}/data"], r"data: a folder; give the checkpoint"),
    "ensemble": (["{folder}/none.pt:{folder}/tied.pt"], r"an ensemble"),
    "same name": (["a={folder}/none.pt", "a={folder}/tied.pt"], r"two systems are called a;"),
    "names of one file": (
        ["x y={folder}/none.pt", "x-y={folder}/tied.pt", "--export", "numpy"],
        r"two systems are called x-y; write NAME=CHECKPOINT",
    ),
    "the best of a run, and its name": (
        ["{folder}/run/checkpoint_best.pt", "run={folder}/tied.pt"],
        r"two systems are called run;",
    ),
    "control character": (["a\tb={folder}/none.pt"], r"no control characters"),
    "long name": (["x" * 200 + "={folder}/none.pt"], r"too long for the name of a file"),
    "broken set": (
        ["{folder}/none.pt", "--similarity", "{folder}/broken.txt"],
        r"broken\.txt, line 2: not two words and a score",
    ),
    "no sets": (["{folder}/none.pt", "--similarity", "{folder}/data"], r"data: holds no sets"),
    "two sets of one name": (
        ["{folder}/none.pt", "--similarity", "{folder}/sets", "{folder}/more/mine.txt"],
        r"sets/mine\.txt and .*more/mine\.txt: two sets of one name",
    ),
    "sentences": (
        ["{folder}/none.pt", "--sentences", "{folder}/sets/mine.txt"],
        r"none\.pt: --sentences: not a translation model",
    ),
    "damaged": (["{folder}/damaged.pt"], r"damaged\.pt: "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_one_line(case, folder, tmp_path):
    (folder / "more").mkdir(exist_ok=True)
    (folder / "more" / "mine.txt").write_text(SET)
    (folder / "broken.txt").write_text("dog cat 3\ndog\n")
    (folder / "nan.vec").write_text("2 2\na 1 nan\nb 3 4\n")
    (folder / "damaged.pt").write_bytes((folder / "none.pt").read_bytes()[:2000])
    arguments, message = REFUSED[case]
    given = [argument.format(folder=folder) for argument in arguments]
    with pytest.raises(SystemExit, match=message) as stop:
        analyse.main([*given, "--data", str(folder / "data"), "--out", str(tmp_path / "out")])
    assert str(stop.value).startswith("error: ") and "\n" not in str(stop.value)
    assert not (tmp_path / "out").exists()


def test_other_libraries_log_nothing(tmp_path):
    (tmp_path / "text").write_text("no checkpoint")
    done = run("-m", "tiednmt.commands.analyse", tmp_path / "text", "--out", tmp_path / "out")
    assert done.status == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")


def test_the_same_from_a_clone(tmp_path):
    from scripts import analyse as of_clone

    (tmp_path / "x.vec").write_text("".join(f"w{i} {i} {i * i} 1\n" for i in range(5)))
    for command, name in ((analyse, "a"), (of_clone, "b")):
        command.main([str(tmp_path / "x.vec"), "--out", str(tmp_path / name)])
    one, other = ((tmp_path / name / "analysis.json").read_bytes() for name in "ab")
    assert one == other


def test_what_is_not_installed_is_named(folder, tmp_path, monkeypatch):
    for name in ("matplotlib", "gensim"):
        monkeypatch.setitem(sys.modules, name, None)
    given = [str(folder / "none.pt"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        analyse.main(given)
    assert str(ended.value.code) == (
        "error: tiednmt analyse: gensim, matplotlib not installed; pip install gensim matplotlib"
    )
    assert not (tmp_path / "out").exists()

"""Experiments on embeddings: their record, their table, and a run of both on a page."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy
import pytest
import torch
from gensim.models import Word2Vec
from scipy.stats import spearmanr

from scripts import reproduce
from scripts.lab.figures.embeddings import in_order
from scripts.lab.kinds import embeddings
from scripts.lab.kinds.embeddings import EmbeddingScoring, SkipGramScoring
from scripts.lab.run import specs as recipes
from scripts.lab.run.specs import load_experiment
from scripts.lab.runner import scoring_of
from scripts.lab.store import read_record, summary_of
from tests.support import records
from tiednmt.analysis.embeddings import Embedding
from tiednmt.analysis.word_similarity import SETS
from tiednmt.embeddings.analyse import NamedModel
from tiednmt.errors import UserError

SMALL = """
title: A page
kind: tied_language_modeling
prepare: [preprocess.ptb]
recipe: tied_lstm_lm_small
rows:
  none: &small
    common: {log_interval: 1}
    task: {tokens_per_sample: 8}
    model: {tying: none, embed_dim: 8, hidden_size: 8}
    optimization: {max_epoch: 1}
    dataset: {batch_size: 4}
  wt:
    <<: *small
    model: {tying: decoder, embed_dim: 8, hidden_size: 8}
  pr: *small
"""
EMBEDDINGS = """
title: Embeddings of a page
kind: embeddings
runs_of: page
rows: [none, wt]
paper: {similarity: V > U, correlation: "V,S > U,S > U,V"}
"""
SKIP_GRAM = """
title: Skip-gram of a page
kind: skip-gram
prepare: [preprocess.ptb]
options: {vector_size: 6, epochs: 2}
paper: {similarity: U > V}
"""


@pytest.fixture(scope="module")
def folder(forks, tmp_path_factory):
    """Three experiments, a corpus of a page and word-similarity sets of its words."""
    folder = tmp_path_factory.mktemp("embeddings")
    (folder / "page.yaml").write_text(SMALL)
    (folder / "page-embeddings.yaml").write_text(EMBEDDINGS)
    (folder / "page-vectors.yaml").write_text(SKIP_GRAM)
    dice = random.Random(1)
    for name in ("raw", "sets"):
        (folder / name).mkdir()
    for subset, lines in (("train", 60), ("valid", 12), ("test", 12)):
        text = (" ".join(dice.choices("abcdefghij", k=6)) for _ in range(lines))
        (folder / "raw" / f"ptb.{subset}.txt").write_text("\n".join(text) + "\n")
    for number, file in enumerate(SETS.values()):
        pairs = [dice.sample("abcdefghijxyz", 2) for _ in range(12 + number)]
        lines = [f"{one}\t{other}\t{dice.random():.2f}\n" for one, other in pairs]
        (folder / "sets" / file).write_text("".join(lines))
    return folder


def run(folder, name, seeds):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "EXPERIMENTS", folder)
        options = ["--raw", folder / "raw", "--wordsim", folder / "sets", "--seeds", seeds]
        options += ["--out", folder / "runs" / name, "--jobs", 2]
        reproduce.main([name, *map(str, options)])
    return json.loads((folder / "runs" / name / "record.json").read_text())


def by_hand(folder, vectors, file):
    """ρ and coverage of rows by word."""
    human, cosines = [], []
    lines = (folder / "sets" / file).read_text().splitlines()
    for one, other, score in map(str.split, lines):
        if one in vectors and other in vectors:
            human.append(float(score))
            pair = (torch.tensor(vectors[word]).double() for word in (one, other))
            cosines.append(torch.cosine_similarity(*pair, dim=0).item())
    return spearmanr(human, cosines).statistic, len(human), len(lines)


@pytest.mark.slow
def test_skip_gram(folder, capsys):
    record = run(folder, "page-vectors", seeds=2)
    out = folder / "runs" / "page-vectors"
    models = [Word2Vec.load(str(out / f"seed-{seed}.model")) for seed in (1, 2)]
    words = models[0].wv.index_to_key
    for name, file in SETS.items():
        found = record["similarity"][name]
        for letter, matrices in (
            ("U", [model.wv.vectors for model in models]),
            ("V", [model.syn1neg for model in models]),
        ):
            rhos = []
            for model, rows in zip(models, matrices, strict=True):
                vectors = dict(zip(model.wv.index_to_key, rows, strict=True))
                rho, *counts = by_hand(folder, vectors, file)
                rhos.append(rho)
                assert [found["covered"], found["pairs"]] == counts
            assert found["rho"][letter]["mean"] == pytest.approx(sum(rhos) / 2, abs=1e-3)
            assert found["rho"][letter]["sd"] > 0
    assert set(words) == set("abcdefghij")
    assert "| paper: U > V |" in capsys.readouterr().out
    made = {path: path.stat().st_mtime for path in out.glob("*.model")}
    again = run(folder, "page-vectors", seeds=1)
    assert made == {path: path.stat().st_mtime for path in made}
    assert "±" not in (out / "table.md").read_text()
    assert again["seeds"] == 1


@pytest.mark.slow
def test_embeddings_of_the_runs_of_another_experiment(folder):
    record = run(folder, "page-embeddings", seeds=1)
    runs = folder / "runs" / "page"
    assert {path.name for path in runs.iterdir()} == {"data", "none", "wt"}  # no more is trained
    state = torch.load(runs / "wt" / "checkpoint_best.pt", map_location="cpu")["model"]
    types = (runs / "data" / "data-bin" / "dict.txt").read_text().splitlines()
    rows = state["decoder.embedding.weight"][4:].tolist()
    vectors = {line.split()[0]: row for line, row in zip(types, rows, strict=True)}
    for name, file in SETS.items():
        rho, covered, pairs = by_hand(folder, vectors, file)
        found = record["similarity"][name]
        assert found["rho"]["S"]["mean"] == pytest.approx(rho, abs=1e-3)
        assert (found["covered"], found["pairs"]) == (covered, pairs)
    assert list(record["correlation"]) == ["U,V", "U,S", "V,S"]
    assert [row["name"] for row in record["rows"]] == ["none", "wt"]
    made = {path: path.stat().st_mtime for path in runs.glob("*/*.pt")}
    assert run(folder, "page-embeddings", seeds=1)["similarity"] == record["similarity"]
    assert made == {path: path.stat().st_mtime for path in made}
    for name in ("word-similarity.png", "likeness.svg", "table.md"):
        assert (folder / "runs" / "page-embeddings" / name).stat().st_size > 100


def test_in_order():
    values = {"U": 0.1, "V": 0.3, "S": 0.2, "W": None}
    assert in_order("V > S > U", values) is True
    assert in_order("V > U > S", values) is False
    assert in_order("V > V", values) is False
    assert in_order("V > W", values) is None


def test_table_beside_the_paper_s_directions(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(records.embeddings()))
    text = summary_of(read_record(path))
    assert "|  | pairs covered | U | V | S | paper: V > U |" in text
    assert "| Some <set> | 1,048 of 3,000 | 0.110 ± 0.010 | 0.220 ± 0.020 |" in text
    assert "| 9 of 12 | 0.110 ± 0.010 | -0.020 ± 0.030 | 0.030 ± 0.026 | no |" in text
    assert "| Empty | 0 of 9 | – | – | – | – |" in text
    assert "| ρ(U,V) | ρ(U,S) | ρ(V,S) | paper: V,S > U,S > U,V |" in text
    assert "| 0.150 ± 0.050 | 0.310 ± 0.010 | 0.700 ± 0.100 | yes |" in text
    assert "3 seeds" in text and "Some CPU" in text


def test_experiments():
    on_ptb = load_experiment("ptb-embeddings")
    assert (on_ptb.runs_of, list(on_ptb.rows)) == ("ptb-small", ["none", "wt"])
    assert on_ptb.rows["wt"] == load_experiment("ptb-small").rows["wt"]
    assert on_ptb.prepare == load_experiment("ptb-small").prepare
    assert type(scoring_of(on_ptb)) is EmbeddingScoring
    skip_gram = load_experiment("word2vec")
    assert not skip_gram.rows
    assert type(scoring_of(skip_gram)) is SkipGramScoring


def test_two_rows_of_one_letter_are_refused(monkeypatch):
    def load(name, path, data):
        letters = "S" if name == "wt" else "UV"
        found = tuple(Embedding(letter, ("a",), numpy.ones((1, 1))) for letter in letters)
        return NamedModel(name, path, None, found, None)

    monkeypatch.setattr(embeddings, "load", load)
    paths = [Path(row, "checkpoint_best.pt") for row in ("none", "wt", "pr")]
    assert [*embeddings._by_name(paths[:2])] == ["U", "V", "S"]
    with pytest.raises(UserError, match=r"^rows none and pr: both have U; keep one of them"):
        embeddings._by_name(paths)


def test_rows_that_the_other_experiment_has_not(monkeypatch, tmp_path):
    (tmp_path / "page.yaml").write_text(SMALL)
    (tmp_path / "wrong.yaml").write_text(EMBEDDINGS.replace("none, wt", "none, tied"))
    monkeypatch.setattr(recipes, "EXPERIMENTS", tmp_path)
    with pytest.raises(UserError, match=r"wrong\.yaml: page has no rows tied"):
        load_experiment("wrong")

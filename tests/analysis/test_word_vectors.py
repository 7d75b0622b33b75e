"""Files of word vectors: what we write gensim reads, what gensim writes we read, safely."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from gensim.models import KeyedVectors, Word2Vec

from scripts.lab.baselines.skip_gram import SkipGram, save, train
from tiednmt.analysis.embeddings import Embedding
from tiednmt.analysis.word_vectors import is_word_vectors, load, save_numpy, save_word2vec
from tiednmt.errors import UserError


@pytest.fixture
def embedding():
    rows = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    return Embedding("V", ("the", "Straße", "e@@", "3", "N"), rows)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "train.txt"
    path.write_text("the dog sees the cat\nthe cat sees a dog\n" * 30)
    return path


def test_gensim_reads_our_word2vec(embedding, tmp_path):
    save_word2vec(embedding, tmp_path / "v.vec")
    found = KeyedVectors.load_word2vec_format(str(tmp_path / "v.vec"))
    assert tuple(found.index_to_key) == embedding.words
    np.testing.assert_array_equal(found.vectors, embedding.vectors)


def test_numpy_reads_our_arrays(embedding, tmp_path):
    save_numpy(embedding, tmp_path / "v.npz")
    found = np.load(tmp_path / "v.npz")
    assert tuple(found["words"]) == embedding.words
    np.testing.assert_array_equal(found["vectors"], embedding.vectors)


@pytest.mark.parametrize("binary", [False, True])
def test_word2vec_s_files(binary, embedding, tmp_path):
    vectors = KeyedVectors(3)
    vectors.add_vectors(list(embedding.words), embedding.vectors)
    vectors.save_word2vec_format(str(tmp_path / "x"), binary=binary)
    assert is_word_vectors(tmp_path / "x")
    (found,) = load(tmp_path / "x")
    assert (found.name, found.words) == ("U", embedding.words)
    np.testing.assert_allclose(found.vectors, embedding.vectors, atol=1e-6)


def test_skip_gram_has_both_embeddings_and_repeats(text, tmp_path):
    options = SkipGram(vector_size=6, epochs=2)
    models = [train(text, options, seed) for seed in (1, 1, 2)]
    save(models[0], tmp_path / "one.model")
    assert os.listdir(tmp_path) == ["one.model"]
    u, v = load(tmp_path / "one.model")
    assert (u.name, v.name) == ("U", "V")
    assert set(u.words) == {"the", "dog", "cat", "sees", "a"}
    np.testing.assert_array_equal(u.vectors, models[0].wv.vectors)
    np.testing.assert_array_equal(v.vectors, models[0].syn1neg)
    assert v.vectors.any()
    np.testing.assert_array_equal(u.vectors, models[1].wv.vectors)
    assert (u.vectors != models[2].wv.vectors).any()


def test_gensim_s_files_in_several_parts(text, tmp_path):
    model = Word2Vec(corpus_file=str(text), sg=1, vector_size=4, min_count=1)
    model.wv.save(str(tmp_path / "words.kv"), separately=["vectors"])
    (u,) = load(tmp_path / "words.kv")
    np.testing.assert_array_equal(u.vectors, model.wv.vectors)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


class TestRefused:
    def test_pickle_of_something_else(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "x.model").write_bytes(pickle.dumps(Trap()))
        with pytest.raises(UserError, match=r"x\.model: refused, .*mkdir.*word2vec text"):
            load(tmp_path / "x.model")
        assert not (tmp_path / "sprung").exists()

    def test_pickle_of_plain_data(self, tmp_path):
        (tmp_path / "x.model").write_bytes(pickle.dumps({"a": 1}))
        with pytest.raises(UserError, match=r"holds no Word2Vec or KeyedVectors"):
            load(tmp_path / "x.model")

    @pytest.mark.parametrize("kept", [10, 60])
    def test_cut_short(self, kept, embedding, tmp_path):
        save_word2vec(embedding, tmp_path / "x.vec")
        whole = (tmp_path / "x.vec").read_bytes()
        (tmp_path / "x.vec").write_bytes(whole[:kept])
        with pytest.raises(UserError, match=r"x\.vec: damaged or cut short"):
            load(tmp_path / "x.vec")

    @pytest.mark.parametrize("kept", [0.1, 0.9])
    def test_gensim_s_file_cut_short(self, kept, text, tmp_path):
        save(train(text, SkipGram(vector_size=4, epochs=1), 1), tmp_path / "x.model")
        whole = (tmp_path / "x.model").read_bytes()
        (tmp_path / "x.model").write_bytes(whole[: int(kept * len(whole))])
        with pytest.raises(UserError, match=r"x\.model: damaged or cut short"):
            load(tmp_path / "x.model")

    def test_text_without_words(self, tmp_path):
        (tmp_path / "empty.txt").write_text("")
        with pytest.raises(UserError, match="vocabulary"):
            train(tmp_path / "empty.txt", SkipGram(), 1)

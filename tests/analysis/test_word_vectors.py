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


def test_vectors_without_a_header_with_spaces_and_with_a_word_twice(tmp_path, caplog):
    (tmp_path / "glove.txt").write_text("the 1 2 3\ncat 4 5 6\n")
    assert is_word_vectors(tmp_path / "glove.txt")
    (found,) = load(tmp_path / "glove.txt")
    assert found.words == ("the", "cat")
    assert found.vectors.tolist() == [[1, 2, 3], [4, 5, 6]]

    (tmp_path / "spaces.vec").write_text("3 2\nnew york 1 2\nthe 3 4\n. . . 5 6\n")
    (found,) = load(tmp_path / "spaces.vec")
    assert found.words == ("new york", "the", ". . .")
    assert found.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]

    (tmp_path / "twice.vec").write_text("3 2\na 1 2\nb 3 4\na 5 6\n")
    (found,) = load(tmp_path / "twice.vec")
    assert found.words == ("a", "b") and found.vectors.tolist() == [[1, 2], [3, 4]]
    assert "twice.vec" in caplog.text


def test_text_is_no_file_of_vectors(tmp_path):
    (tmp_path / "a.txt").write_text("the cat sees a dog\n")
    assert not is_word_vectors(tmp_path / "a.txt")


class TestRefused:
    @pytest.fixture
    def saved(self, embedding, tmp_path, monkeypatch):
        """Saves gensim's vectors with a change, in the folder that the test runs in."""
        monkeypatch.chdir(tmp_path)

        def save(**changes):
            vectors = KeyedVectors(3)
            vectors.add_vectors(list(embedding.words), embedding.vectors)
            vectors.__dict__.update(changes)
            (tmp_path / "x.kv").write_bytes(pickle.dumps(vectors, 4))
            return tmp_path / "x.kv"

        return save

    @pytest.mark.parametrize("listed", ["__scipys", "__recursive_saveloads"])
    def test_a_second_pickle(self, listed, saved, tmp_path):
        path = saved(**{listed: ["x"]})
        for name in ("x.kv.x.npy", "x.kv.x", "x.kv.x.x.npy"):
            (tmp_path / name).write_bytes(pickle.dumps(Trap(), 4))
        with pytest.raises(UserError, match=r"x\.kv"):
            load(path)
        assert not (tmp_path / "sprung").exists()

    def test_an_array_that_is_a_pickle(self, saved, tmp_path):
        path = saved(__numpys=["vectors"])
        np.save(tmp_path / "x.kv.vectors.npy", np.array([Trap()]), allow_pickle=True)
        with pytest.raises(UserError, match=r"x\.kv"):
            load(path)
        assert not (tmp_path / "sprung").exists()

    @pytest.mark.parametrize(
        "changes",
        [
            {"__numpys": ["../../etc/vectors"]},
            {"__numpys": "vectors"},
            {"__numpys": [3]},
            {"__numpys": ["vectors"]},  # which is not there
            {"vectors": None},
            {"vectors": np.zeros(3)},
            {"vectors": np.zeros((5, 3), dtype=int)},
            {"vectors": np.zeros((4, 3))},
            {"index_to_key": ["a", None, "b", "c", "d"]},
            {"index_to_key": 5},
        ],
        ids=str,
    )
    def test_odd_contents(self, changes, saved):
        with pytest.raises(UserError, match=r"x\.kv"):
            load(saved(**changes))

    @pytest.mark.parametrize(
        "text",
        [
            "1000000000000 300\na 1 2\n",
            "2 3\na 1 2 3\nb 1 x 3\n",
            "2 3\na 1 2 3\n",
            "1 3\na 1 2 3\nb 1 2 3\n",
            "0 0\n",
            "5 0\na\n",
            "the 1 2\ncat 1\n",
        ],
    )
    def test_text_with_a_fault(self, text, tmp_path):
        (tmp_path / "x.vec").write_text(text)
        with pytest.raises(UserError, match=r"x\.vec"):
            load(tmp_path / "x.vec")

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

"""Embeddings out of checkpoints: ours under every tying, and fairseq's own models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.untrained import save_untrained, write_dictionaries
from tiednmt.analysis.checkpoints import load
from tiednmt.errors import UserError

WORDS = [f"w{i}" for i in range(9)]
ROWS = len(WORDS) + 4  # fairseq's symbols
LM = ("--task", "language_modeling", "--sample-break-mode", "none", "--tokens-per-sample", 8)
OURS_LM = ("--task", "tied_language_modeling", "--arch", "tied_lstm_lm", "--hidden-size", 6)
TRANSLATION = ("-s", "en", "-t", "de", "--task", "translation")
OURS = ("--arch", "tied_gru", *("--encoder-hidden-size", 4, "--decoder-hidden-size", 5))
SIZE = ("--embed-dim", 6)
STOCK_SIZES = (
    *("--encoder-embed-dim", 8, "--decoder-embed-dim", 8),
    *("--encoder-hidden-size", 8, "--decoder-hidden-size", 8, "--decoder-out-embed-dim", 8),
)
TRANSFORMER = (
    *("--encoder-embed-dim", 8, "--encoder-ffn-embed-dim", 8, "--encoder-layers", 1),
    *("--encoder-attention-heads", 2, "--decoder-attention-heads", 2),
    *("--decoder-embed-dim", 8, "--decoder-ffn-embed-dim", 8, "--decoder-layers", 1),
)
LM_TRANSFORMER = (
    *("--arch", "transformer_lm", "--decoder-embed-dim", 8, "--decoder-ffn-embed-dim", 8),
    *("--decoder-layers", 1, "--decoder-attention-heads", 2),
)
LSTM_LM = (*("--arch", "lstm_lm", "--decoder-embed-dim", 8), *("--decoder-hidden-size", 8))
ALL = "--share-all-embeddings"
DECODER = "--share-decoder-input-output-embed"

# command line → the letters, and the names in the state that their rows must be
CASES = {
    "lm": ((*OURS_LM, *SIZE), {"U": "decoder.embedding", "V": "decoder.output.embedding"}),
    "tied lm": ((*OURS_LM, *SIZE, "--tying", "decoder"), {"S": "decoder.embedding"}),
    "translation": (
        (*TRANSLATION, *OURS, *SIZE),
        {
            "U_src": "encoder.embedding",
            "U_tgt": "decoder.embedding",
            "V": "decoder.output.embedding",
        },
    ),
    "decoder": (
        (*TRANSLATION, *OURS, *SIZE, "--tying", "decoder"),
        {"U_src": "encoder.embedding", "S": "decoder.embedding"},
    ),
    "three-way": (
        (*TRANSLATION, *OURS, *SIZE, "--tying", "three-way"),
        {"S": "encoder.embedding"},
    ),
    "lstm_lm": ((*LM, *LSTM_LM), {"U": "decoder.embed_tokens", "V": "decoder.fc_out"}),
    "tied lstm_lm": (
        (*LM, *LSTM_LM, "--decoder-out-embed-dim", 8, DECODER),
        {"S": "decoder.embed_tokens"},
    ),
    "transformer_lm": (
        (*LM, *LM_TRANSFORMER),
        {"U": "decoder.embed_tokens", "V": "decoder.output_projection"},
    ),
    "tied transformer_lm": (
        (*LM, *LM_TRANSFORMER, DECODER),
        {"S": "decoder.embed_tokens"},
    ),
    "lstm": (
        (*TRANSLATION, "--arch", "lstm", *STOCK_SIZES),
        {
            "U_src": "encoder.embed_tokens",
            "U_tgt": "decoder.embed_tokens",
            "V": "decoder.fc_out",
        },
    ),
    "three-way lstm": (
        (*TRANSLATION, "--arch", "lstm", *STOCK_SIZES, ALL),
        {"S": "encoder.embed_tokens"},
    ),
    "transformer": (
        (*TRANSLATION, "--arch", "transformer", *TRANSFORMER, DECODER),
        {"U_src": "encoder.embed_tokens", "S": "decoder.embed_tokens"},
    ),
    "three-way transformer": (
        (*TRANSLATION, "--arch", "transformer", *TRANSFORMER, ALL),
        {"S": "encoder.embed_tokens"},
    ),
}


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory):
    names = ("dict.txt", "dict.en.txt", "dict.de.txt")
    return write_dictionaries(tmp_path_factory.mktemp("data-bin"), *names, words=WORDS)


@pytest.mark.parametrize("case", CASES)
def test_matrices_and_parameters(case, data_bin, tmp_path):
    arguments, expected = CASES[case]
    model = save_untrained(tmp_path / "model.pt", data_bin, *arguments)
    found = load(tmp_path / "model.pt", data_bin)
    assert [embedding.name for embedding in found.embeddings] == list(expected)
    state = model.state_dict()
    for embedding in found.embeddings:
        assert embedding.words == tuple(WORDS)
        rows = state[f"{expected[embedding.name]}.weight"][4:].numpy()
        np.testing.assert_array_equal(embedding.vectors, rows)
    assert found.tie_map.total == sum(p.numel() for p in model.parameters())
    names = [name for group, _ in found.tie_map.groups for name in group]
    assert len(names) == (3 if "translation" in arguments else 2)
    assert len(found.tie_map.groups) == len(expected)


def test_projection(data_bin, tmp_path):
    arguments = (*OURS_LM, *SIZE, "--tying", "decoder", "--projection")
    model = save_untrained(tmp_path / "model.pt", data_bin, *arguments)
    found = load(tmp_path / "model.pt", data_bin)
    assert [embedding.name for embedding in found.embeddings] == ["S", "P·V"]
    features = torch.eye(6)
    bias = model.output_layer.bias
    scores = (model.output_layer(features) - bias).detach()  # features × types
    np.testing.assert_allclose(found.embeddings[1].vectors, scores.t()[4:], atol=1e-6)
    assert found.tie_map.others["projection P"] == 36


def test_languages_of_the_words(data_bin, tmp_path):
    save_untrained(
        tmp_path / "model.pt", data_bin, *TRANSLATION, *OURS, *SIZE, "--tying", "decoder"
    )
    found = load(tmp_path / "model.pt", data_bin)
    assert [sorted(e.languages) for e in found.embeddings] == [["en"], ["de"]]


def test_rows_are_in_order_of_frequency_without_padding(tmp_path):
    (tmp_path / "dict.txt").write_text("rare 1\noften 9\nmadeupword0000 0\nmadeupword0001 0\n")
    model = save_untrained(tmp_path / "model.pt", tmp_path, *OURS_LM, *SIZE)
    (u, _) = load(tmp_path / "model.pt").embeddings  # the dictionary is where training had it
    assert u.words == ("often", "rare")
    weight = model.state_dict()["decoder.embedding.weight"]
    np.testing.assert_array_equal(u.vectors, weight[[5, 4]])


def test_adaptive_softmax_has_no_output_embedding(data_bin, tmp_path):
    adaptive = ("--criterion", "adaptive_loss", "--adaptive-softmax-cutoff", "4,8")
    save_untrained(tmp_path / "model.pt", data_bin, *LM, *LM_TRANSFORMER, *adaptive)
    found = load(tmp_path / "model.pt", data_bin)
    assert [embedding.name for embedding in found.embeddings] == ["U"]


class TestRefused:
    def test_no_embeddings(self, data_bin, tmp_path):
        save_untrained(tmp_path / "model.pt", data_bin, *OURS_LM, *SIZE)
        state = torch.load(tmp_path / "model.pt")
        state["model"] = {"classifier.weight": torch.zeros(3, 3)}
        torch.save(state, tmp_path / "model.pt")
        with pytest.raises(UserError, match=r"model\.pt: holds no embeddings"):
            load(tmp_path / "model.pt", data_bin)

    @pytest.mark.parametrize("arguments", [(*OURS_LM, *SIZE), (*LM, *LSTM_LM)])
    def test_dictionary_of_another_size(self, arguments, data_bin, tmp_path):
        save_untrained(tmp_path / "model.pt", data_bin, *arguments)
        other = write_dictionaries(tmp_path / "other", "dict.txt", words=WORDS[:-1])
        with pytest.raises(UserError, match=r"other dictionaries than those in .*other.*--data"):
            load(tmp_path / "model.pt", other)

    def test_dictionary_of_other_words(self, data_bin, tmp_path):
        save_untrained(tmp_path / "model.pt", data_bin, *OURS_LM, *SIZE)
        other = write_dictionaries(tmp_path / "other", "dict.txt", words=reversed(WORDS))
        with pytest.raises(UserError, match="other dictionaries"):
            load(tmp_path / "model.pt", other)

    def test_no_dictionary(self, data_bin, tmp_path):
        save_untrained(tmp_path / "model.pt", data_bin, *OURS_LM, *SIZE)
        with pytest.raises(UserError, match=r"--data .*nowhere: no such folder"):
            load(tmp_path / "model.pt", tmp_path / "nowhere")
        state = torch.load(tmp_path / "model.pt")
        state["cfg"].task.data = "gone"
        torch.save(state, tmp_path / "model.pt")
        with pytest.raises(UserError, match=r"not in gone; give the prepared folder .*--data"):
            load(tmp_path / "model.pt")

    def test_not_of_fairseq(self, data_bin, tmp_path):
        torch.save({"weights": torch.zeros(3)}, tmp_path / "model.pt")
        with pytest.raises(UserError, match=r"model\.pt"):
            load(tmp_path / "model.pt", data_bin)

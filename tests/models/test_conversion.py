"""Whole checkpoints of fairseq's own models as ours, and back, by the command."""

from __future__ import annotations

import pytest
import torch
from fairseq import checkpoint_utils

from scripts import convert_checkpoint
from tests.support.small_models import batch, dictionary
from tests.support.untrained import save_untrained, write_dictionaries

WORDS = [f"w{i}" for i in range(19)]
TASK = ("--task", "translation", "--source-lang", "en", "--target-lang", "de")
SIZES = (
    *("--encoder-embed-dim", 16, "--encoder-ffn-embed-dim", 20, "--encoder-layers", 2),
    *("--encoder-attention-heads", 4, "--decoder-attention-heads", 2, "--decoder-layers", 1),
)
OPTIONS = {
    "as it comes": (),
    "decoder": ("--share-decoder-input-output-embed", "--dropout", 0.2, "--relu-dropout", 0.1),
    "three-way": ("--share-all-embeddings", "--no-scale-embedding", "--activation-fn", "gelu"),
    "pre-norm": (
        *("--encoder-normalize-before", "--decoder-normalize-before", "--layernorm-embedding"),
        *("--encoder-learned-pos", "--max-source-positions", 30, "--share-all-embeddings"),
    ),
}


LSTM_SIZES = (
    *("--encoder-embed-dim", 16, "--decoder-embed-dim", 16, "--decoder-out-embed-dim", 16),
    *("--encoder-hidden-size", 12, "--decoder-hidden-size", 20),
)
LSTM_OPTIONS = {
    "as it comes": (),
    "decoder": ("--share-decoder-input-output-embed", "--encoder-dropout-in", 0.2),
    "three-way": (
        *("--share-all-embeddings", "--encoder-bidirectional"),
        *("--encoder-layers", 2, "--decoder-layers", 2),
    ),
    "sizes": ("--encoder-embed-dim", 8, "--decoder-out-embed-dim", 10, "--decoder-attention", 0),
}


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_dictionaries(folder, "dict.en.txt", "dict.de.txt", words=WORDS)


def load(path):
    (model,), config, task = checkpoint_utils.load_model_ensemble_and_task([str(path)])
    return model.eval(), config.model, task


def scores(model):
    given, _ = batch(vocabulary=dictionary(WORDS))
    kept = given["prev_output_tokens"].ne(1)
    with torch.no_grad():
        return model(**given)[0][kept]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_there_and_back(options, data_bin, tmp_path, capsys):
    stock, ours, back = (tmp_path / f"{name}.pt" for name in ("stock", "ours", "back"))
    save_untrained(stock, data_bin, *TASK, "--arch", "transformer", *SIZES, *options)
    for read, written, architecture in (
        (stock, ours, "tied_transformer"),
        (ours, back, "transformer"),
    ):
        convert_checkpoint.main([str(read), "--output", str(written)])
        assert f"as a checkpoint of {architecture}" in capsys.readouterr().out
    (theirs, old, _), (tied, _, _), (again, new, _) = (load(path) for path in (stock, ours, back))
    torch.testing.assert_close(scores(tied), scores(theirs), atol=1e-5, rtol=0)
    torch.testing.assert_close(scores(again), scores(theirs), atol=1e-5, rtol=0)
    for name in ("dropout", "encoder_ffn_embed_dim", "decoder_layers", "max_target_positions"):
        assert getattr(new, name) == getattr(old, name)
    expected = "three-way" if "--share-all-embeddings" in options else "none"
    expected = "decoder" if "--share-decoder-input-output-embed" in options else expected
    assert tied.tie_map.tying == expected
    stored = torch.load(ours)["model"]
    matrices = [name for name in stored if name.endswith("embedding.weight")]
    assert len(matrices) == len(tied.tie_map.groups)
    assert tied.encoder.stack.layers[0].feed_forward.dropout.rate == pytest.approx(
        0.1 if "--relu-dropout" in options else 0
    )


@pytest.mark.parametrize("options", LSTM_OPTIONS.values(), ids=LSTM_OPTIONS)
def test_an_lstm_there_and_back(options, data_bin, tmp_path, capsys):
    stock, ours, back = (tmp_path / f"{name}.pt" for name in ("stock", "ours", "back"))
    save_untrained(stock, data_bin, *TASK, "--arch", "lstm", *LSTM_SIZES, *options)
    for read, written, architecture in ((stock, ours, "tied_lstm"), (ours, back, "lstm")):
        convert_checkpoint.main([str(read), "--output", str(written)])
        assert f"as a checkpoint of {architecture}" in capsys.readouterr().out
    (theirs, old, _), (tied, _, _), (again, new, _) = (load(path) for path in (stock, ours, back))
    torch.testing.assert_close(scores(tied), scores(theirs), atol=1e-5, rtol=0)
    assert torch.equal(scores(again), scores(theirs))
    for name in ("encoder_dropout_in", "decoder_layers", "decoder_attention", "encoder_embed_dim"):
        assert getattr(new, name) == getattr(old, name)
    expected = "three-way" if "--share-all-embeddings" in options else "none"
    expected = "decoder" if "--share-decoder-input-output-embed" in options else expected
    assert tied.tie_map.tying == expected
    assert tied.encoder.dropout_in.rate == old.encoder_dropout_in


def test_an_lstm_without_input_feeding_becomes_one_that_ignores_it(data_bin, tmp_path):
    ours, back = tmp_path / "ours.pt", tmp_path / "back.pt"
    given = ("--arch", "tied_lstm_tiny", "--tying", "three-way", "--no-input-feeding")
    save_untrained(ours, data_bin, *TASK, *given)
    convert_checkpoint.main([str(ours), "--output", str(back)])
    (tied, _, _), (theirs, _, _) = load(ours), load(back)
    torch.testing.assert_close(scores(theirs), scores(tied), atol=1e-5, rtol=0)
    assert theirs.encoder.embed_tokens is theirs.decoder.embed_tokens


def test_what_is_not_carried(data_bin, tmp_path, capsys):
    tied = ("--arch", "tied_transformer_tiny", "--tying", "three-way")
    cases = {
        "P": ((*tied, "--projection"), "--projection: fairseq's transformer has no P"),
        "gru": (("--arch", "tied_gru"), "fairseq has no model of its own like tied_gru"),
        "activation": (
            ("--arch", "transformer", *SIZES, "--activation-fn", "gelu_fast"),
            r"--activation-fn: this package has no such tied_transformer \(Invalid .*gelu_fast",
        ),
        "fconv": (("--arch", "fconv_iwslt_de_en"), "this package has no model like fconv"),
        "softmax": (
            ("--arch", "transformer", *SIZES, "--adaptive-softmax-cutoff", "8,16"),
            r"--adaptive-softmax-cutoff \[?8, ?16\]? is not supported",
        ),
    }
    for name, (options, message) in cases.items():
        save_untrained(tmp_path / f"{name}.pt", data_bin, *TASK, *options)
        with pytest.raises(SystemExit, match=rf"error: .*{name}\.pt: {message}"):
            convert_checkpoint.main([str(tmp_path / f"{name}.pt"), "--output", str(tmp_path / "x")])
    assert not (tmp_path / "x").exists()
    untrained = tmp_path / "three-way.pt"
    save_untrained(untrained, data_bin, *TASK, *tied)  # its bias is zero yet
    convert_checkpoint.main([str(untrained), "--output", str(tmp_path / "x")])
    model, _, _ = load(tmp_path / "x")
    assert model.encoder.embed_tokens is model.decoder.embed_tokens


@pytest.mark.parametrize("arch", ["tied_transformer_tiny", "tied_lstm_tiny"])
def test_what_was_converted_needs_no_files_of_word_vectors(arch, data_bin, tmp_path):
    """A tied matrix takes one file, which may be gone later; fairseq's own models want two."""
    ours, stock, again = (tmp_path / f"{name}.pt" for name in ("ours", "stock", "again"))
    vectors = tmp_path / "vectors.txt"
    vectors.write_text(f"1 128\nw1{' 0.5' * 128}\n")
    given = ("--arch", arch, "--tying", "three-way", "--no-output-bias")
    save_untrained(ours, data_bin, *TASK, *given, "--decoder-embed-path", vectors)
    vectors.unlink()
    convert_checkpoint.main([str(ours), "--output", str(stock)])
    convert_checkpoint.main([str(stock), "--output", str(again)])
    (tied, _, _), (theirs, _, _), (back, _, _) = load(ours), load(stock), load(again)
    torch.testing.assert_close(scores(theirs), scores(tied), atol=1e-5, rtol=0)
    assert torch.equal(scores(back), scores(tied))

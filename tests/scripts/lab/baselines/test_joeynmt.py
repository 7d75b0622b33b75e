"""What JoeyNMT is given and what it prints."""

from __future__ import annotations

import yaml

from scripts.lab.baselines import joeynmt
from scripts.lab.baselines.stock import Sizes


def test_joeynmt_log():
    line = "- INFO - Epoch 1, Step: {}, Batch Loss: 1.5, Tokens per Sec: {}, Lr: 0.002\n"
    assert joeynmt.rates_in(line.format(2, "    1234") + line.format(4, "  99")) == [1234, 99]


def test_joeynmt_trains_from_the_source_language_on_the_same_vocabulary(tmp_path):
    text, data_bin = tmp_path / "bpe", tmp_path / "data-bin"
    text.mkdir()
    data_bin.mkdir()
    (data_bin / "train.en-de.en.idx").touch()
    (data_bin / "dict.de.txt").write_text("eine 7\nzwei 3\n", encoding="utf-8")
    sizes = Sizes(
        **{"embed_dim": 20, "encoder_hidden_size": 30, "decoder_hidden_size": 40, "layers": 2},
        **{"decoder_layers": 3, "ffn_dim": 50, "heads": 4, "dropout": 0.1},
    )
    joeynmt.write_inputs(text, tmp_path, sizes, max_tokens=4000, updates=50)
    written = yaml.safe_load((tmp_path / "joeynmt.yaml").read_text(encoding="utf-8"))
    assert (written["data"]["src"]["lang"], written["data"]["trg"]["lang"]) == ("en", "de")
    assert (tmp_path / "vocabulary").read_text(encoding="utf-8") == "eine\nzwei\n"
    assert written["training"]["batch_size"] == 4000
    encoder, decoder = (written["model"][side] for side in ("encoder", "decoder"))
    assert (encoder["hidden_size"], decoder["hidden_size"]) == (30, 40)
    assert (encoder["num_layers"], decoder["num_layers"]) == (2, 3)
    assert encoder["embeddings"] == decoder["embeddings"] == {"embedding_dim": 20, "dropout": 0.1}
    joeynmt.write_inputs(text, tmp_path, sizes, 4000, updates=50, is_transformer=True)
    model = yaml.safe_load((tmp_path / "joeynmt.yaml").read_text(encoding="utf-8"))["model"]
    assert model["tied_embeddings"] and model["tied_softmax"]
    for side, layers in (("encoder", 2), ("decoder", 3)):
        assert model[side]["type"] == "transformer" and model[side]["num_layers"] == layers
        found = [model[side][name] for name in ("hidden_size", "ff_size", "num_heads", "dropout")]
        assert found == [20, 50, 4, 0.1]

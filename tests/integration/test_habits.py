"""A command line for fairseq's own Transformer, run with ours and nothing else changed."""

from __future__ import annotations

import re

import pytest
import torch

from tests.support.commandline import PLUGIN, run

pytestmark = pytest.mark.slow

# fairseq's own recipe for IWSLT14, smaller
IWSLT = (
    *("--share-decoder-input-output-embed", "--optimizer", "adam"),
    *("--adam-betas", "(0.9, 0.98)", "--clip-norm", "0.0", "--lr", "5e-4"),
    *("--lr-scheduler", "inverse_sqrt", "--warmup-updates", "4000", "--dropout", "0.3"),
    *("--weight-decay", "0.0001", "--criterion", "label_smoothed_cross_entropy"),
    *("--label-smoothing", "0.1", "--max-tokens", "4096", "--eval-bleu"),
    *("--eval-bleu-args", '{"beam": 5, "max_len_a": 1.2, "max_len_b": 10}'),
    *("--eval-bleu-detok", "moses", "--eval-bleu-remove-bpe", "--eval-bleu-print-samples"),
    *("--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric"),
    *("--encoder-embed-dim", "32", "--decoder-embed-dim", "32", "--encoder-layers", "2"),
    *("--encoder-ffn-embed-dim", "48", "--decoder-layers", "1", "--attention-dropout", "0.1"),
    *("--max-update", "3", "--log-interval", "1", "--no-progress-bar", "--num-workers", "0"),
)


def first_loss(done):
    return float(re.search(r"train_inner.* loss=([\d.]+)", done.check().output)[1])


def test_the_recipe_of_iwslt14(data_bin, tmp_path):
    runs = {
        arch: run(
            *("fairseq-train", data_bin, *PLUGIN, "--arch", arch, *IWSLT, "--save-dir"),
            tmp_path / arch,
        )
        for arch in ("transformer_iwslt_de_en", "tied_transformer_iwslt_de_en")
    }
    theirs, ours = runs.values()
    assert first_loss(ours) == pytest.approx(first_loss(theirs), rel=0.03)
    assert re.search(r"valid on 'valid' subset .* bleu [\d.]+", ours.output)
    trained = torch.load(tmp_path / "tied_transformer_iwslt_de_en" / "checkpoint_best.pt")
    options = trained["cfg"]["model"]
    assert (options["tying"], options["embed_dim"]) == ("decoder", 32)
    sizes = [
        int(re.search(r"num\. shared model params: ([\d,]+)", done.output)[1].replace(",", ""))
        for done in runs.values()
    ]
    bias = len(trained["model"]["decoder.output.bias"])
    assert sizes[1] - sizes[0] == bias  # which fairseq's has not


def test_a_contradiction_is_one_line(data_bin, tmp_path):
    done = run(
        *("fairseq-train", data_bin, *PLUGIN, "--arch", "tied_transformer", "--optimizer", "adam"),
        *("--share-all-embeddings", "--tying", "decoder", "--save-dir", tmp_path),
    )
    assert done.status == 1
    assert done.stderr.splitlines()[-1] == (
        "error: --tying decoder contradicts --share-all-embeddings, which is --tying three-way; "
        "leave one out"
    )


# fairseq's own README for it, smaller
LSTM = (
    *("--share-all-embeddings", "--encoder-bidirectional", "--encoder-embed-dim", "24"),
    *("--encoder-hidden-size", "16", "--decoder-embed-dim", "24", "--decoder-hidden-size", "20"),
    *("--decoder-out-embed-dim", "24", "--decoder-attention", "True", "--dropout", "0.0"),
    *("--optimizer", "adam", "--criterion", "cross_entropy", "--max-tokens", "500"),
    *("--log-interval", "1", "--no-progress-bar", "--num-workers", "0"),
)


def test_an_lstm_goes_on_where_fairseqs_stopped(data_bin, tmp_path):
    def train(arch, *options):
        done = run(
            *("fairseq-train", data_bin, *PLUGIN, "--arch", arch, *LSTM, *options),
            *("--max-update", "3", "--save-dir", tmp_path / arch),
        )
        return float(
            re.search(r"valid on 'valid' subset .*? loss ([\d.]+)", done.check().output)[1]
        )

    left = train("lstm", "--lr", "0.05")
    begun = ("--finetune-from-model", tmp_path / "lstm" / "checkpoint_last.pt")
    assert train("tied_lstm", "--lr", "1e-9", *begun) == pytest.approx(left, abs=2e-3)
    state = torch.load(tmp_path / "tied_lstm" / "checkpoint_last.pt")
    assert state["cfg"]["model"]["tying"] == "three-way"
    assert state["model"]["decoder.output.bias"].abs().max() < 1e-6

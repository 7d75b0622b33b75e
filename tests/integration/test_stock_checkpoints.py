"""Checkpoints of fairseq's own Transformer: continued by ours, and translated with by both."""

from __future__ import annotations

import re

import pytest
import torch

from scripts import convert_checkpoint
from tests.support.commandline import PLUGIN, run

pytestmark = pytest.mark.slow

MODEL = (
    *("--share-all-embeddings", "--encoder-embed-dim", 32, "--encoder-layers", 2),
    *("--encoder-ffn-embed-dim", 48, "--decoder-layers", 1, "--dropout", 0),
)
TRAINING = (
    *("--criterion", "label_smoothed_cross_entropy", "--optimizer", "adam", "--max-tokens", 800),
    *("--no-progress-bar", "--num-workers", 0, "--no-epoch-checkpoints"),
)


def train(data_bin, folder, arch, *options):
    given = (data_bin, *PLUGIN, "--arch", arch, *MODEL, *TRAINING, "--save-dir", folder, *options)
    return run("fairseq-train", *given).check()


@pytest.fixture(scope="module")
def stock(data_bin, work):
    train(data_bin, work / "stock", "transformer", "--lr", 0.003, "--max-update", 12)
    return work / "stock" / "checkpoint_last.pt"


@pytest.fixture(scope="module")
def converted(stock, work):
    convert_checkpoint.main([str(stock), "--output", str(work / "converted.pt")])
    return work / "converted.pt"


def weights(path):
    return torch.load(path, map_location="cpu")["model"]


@pytest.mark.parametrize(
    "start",
    [
        ("--finetune-from-model",),
        (
            *("--reset-optimizer", "--reset-dataloader", "--reset-meters", "--reset-lr-scheduler"),
            "--restore-file",
        ),
    ],
    ids=["finetune", "restore"],
)
def test_training_goes_on_from_its_weights(start, stock, converted, data_bin, tmp_path):
    still = ("--lr", 1e-9, "--max-update", 1)
    train(data_bin, tmp_path, "tied_transformer", *still, *start, stock)
    trained, expected = weights(tmp_path / "checkpoint_last.pt"), weights(converted)
    for name, weight in expected.items():
        torch.testing.assert_close(trained[name], weight, atol=1e-6, rtol=0)
    assert "encoder.input_scale.constant" in trained


def test_both_translate_alike(stock, converted, data_bin):
    found = []
    for path, task in ((stock, "translation"), (converted, "tied_translation")):
        options = (data_bin, *PLUGIN, "--task", task, "--path", path, "--beam", 4)
        done = run("fairseq-generate", *options, "--gen-subset", "test").check()
        lines = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", done.stdout, re.MULTILINE)
        found.append({number: (text, float(score)) for number, score, text in lines})
    assert len(found[0]) == 10 and found[0].keys() == found[1].keys()
    for number, (text, score) in found[0].items():
        assert found[1][number][0] == text
        assert found[1][number][1] == pytest.approx(score, abs=1e-4)

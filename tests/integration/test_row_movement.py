"""``--measure-rows``: what is written is what the checkpoints show, and training stays the same."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

import tiednmt.plugin  # noqa: F401
from tests.support.commandline import run

pytestmark = pytest.mark.slow

TYPES, SPECIALS = 30, 4
OPTIONS = (
    *("--user-dir", "tiednmt", "--cpu", "--task", "tied_language_modeling"),
    *("--arch", "tied_lstm_lm", "--embed-dim", 8, "--hidden-size", 8, "--tying", "none"),
    *("--criterion", "tied_cross_entropy", "--optimizer", "sgd", "--lr", "1.0"),
    *("--batch-size", 2, "--tokens-per-sample", 3, "--seed", 3, "--max-update", 7),
    *("--no-progress-bar", "--num-workers", 0, "--disable-validation"),
    *("--save-interval-updates", 1, "--update-freq", 2),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    words = random.Random(1)
    for subset in ("train", "valid"):
        lines = [
            " ".join(f"w{min(int(words.expovariate(0.15)), TYPES - 1)}" for _ in range(6))
            for _ in range(40)
        ]
        (folder / f"{subset}.txt").write_text("\n".join(lines) + "\n")
    options = ("--only-source", "--destdir", folder / "bin", "--workers", 1, "--padding-factor", 1)
    texts = (f"--{subset}pref={folder / subset}.txt" for subset in ("train", "valid"))
    run("fairseq-preprocess", *texts, *options).check()
    return folder / "bin"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Without the measure, and with it at every second update."""
    folder = tmp_path_factory.mktemp("runs")
    for name, more in (("off", ()), ("on", ("--measure-rows", 2))):
        run("fairseq-train", data, *OPTIONS, "--save-dir", folder / name, *more).check()
    return folder


def weights(folder, update):
    (path,) = folder.glob(f"checkpoint_*_{update}.pt")
    return torch.load(path, map_location="cpu")["model"]


def test_training_is_the_same_bit_by_bit(trained):
    assert not (trained / "off" / "row-movement.jsonl").exists()
    for update in (1, 7):
        off, on = (weights(trained / name, update) for name in ("off", "on"))
        assert off.keys() == on.keys()
        assert all(torch.equal(value, on[name]) for name, value in off.items())


def test_lines_are_what_the_checkpoints_show(trained):
    lines = (trained / "on" / "row-movement.jsonl").read_text().splitlines()
    records = {record["update"]: record["matrices"] for record in map(json.loads, lines)}
    assert list(records) == [1, 3, 5, 7]  # the first, then every second; the last is the end
    keys = {"input embedding": "decoder.embedding", "output embedding": "decoder.output.embedding"}
    for update in (3, 5, 7):
        before, after = (weights(trained / "on", at) for at in (update - 1, update))
        for name, bands in records[update].items():
            change = (after[f"{keys[name]}.weight"] - before[f"{keys[name]}.weight"]).numpy()
            change = change[SPECIALS:]  # fairseq's dictionaries are ordered by frequency
            assert [band["ranks"] for band in bands] == [[1, 10], [11, len(change)]]
            for band in bands:
                first, last = band["ranks"]
                rows = change[first - 1 : last]
                assert band["moved"] == np.count_nonzero(rows.any(axis=1))
                expected = np.linalg.norm(rows, axis=1).mean()
                assert band["distance"] == pytest.approx(expected, rel=1e-5)


def test_an_update_moves_every_row_of_v_and_of_u_those_that_were_read(trained):
    for line in (trained / "on" / "row-movement.jsonl").read_text().splitlines():
        matrices = json.loads(line)["matrices"]
        sizes = [
            last - first + 1 for first, last in (b["ranks"] for b in matrices["output embedding"])
        ]
        assert [band["moved"] for band in matrices["output embedding"]] == sizes
        assert 0 < sum(band["moved"] for band in matrices["input embedding"]) <= 2 * 2 * 3

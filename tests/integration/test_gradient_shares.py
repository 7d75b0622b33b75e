"""``--measure-gradients`` and ``--input-scale learned`` by the real command on a tiny corpus."""

from __future__ import annotations

import json

import pytest
import torch
from fairseq.data import Dictionary

import tiednmt.plugin  # noqa: F401
from scripts.lab.run.summary import read_summary
from scripts.lab.run.training import log_entries
from tests.support.commandline import TRAIN, run, train

pytestmark = pytest.mark.slow

OPTIONS = ("--tying", "three-way", "--input-scale", "learned", "--max-update", 6)


@pytest.fixture(scope="module")
def trained(data_bin, tmp_path_factory):
    """Without the measure, and with it at every second update, as experiments train."""
    folder = tmp_path_factory.mktemp("runs")
    train(data_bin, folder / "off", *OPTIONS).check()
    more = ("--measure-gradients", 2, "--update-freq", 1, "--log-format", "json")
    options = (*TRAIN, *OPTIONS, *more, "--save-dir", folder / "on")
    done = run("-m", "scripts.lab.run.fairseq_train", data_bin, *options).check()
    (folder / "on" / "train.log").write_text(done.output)
    return folder


def weights(folder):
    return torch.load(folder / "checkpoint_last.pt", map_location="cpu")["model"]


def lines(folder):
    text = (folder / "gradient-shares.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_training_is_the_same_bit_by_bit(trained):
    assert not (trained / "off" / "gradient-shares.jsonl").exists()
    off, on = (weights(trained / name) for name in ("off", "on"))
    assert off.keys() == on.keys()
    assert all(torch.equal(value, on[name]) for name, value in off.items())


def test_whose_units_are_those_of_the_training_text(trained, prepared):
    """From the first measured update on."""
    source, target = (
        {*(prepared / "bpe" / f"train.{language}").read_text().split(), "</s>"}
        for language in ("en", "de")
    )
    rows = len(Dictionary.load(str(prepared / "data-bin" / "dict.en.txt")))
    expected = {
        "source only": len(source - target),
        "target only": len(target - source),
        "both": len(source & target),
        "neither": rows - len(source | target),
    }
    measured = lines(trained / "on")
    assert [line["update"] for line in measured] == [0, 2, 4]
    assert min(expected.values()) > 0
    assert all(line["rows"] == expected for line in measured)


def test_a_lookup_moves_nothing_of_the_other_side(trained):
    for line in lines(trained / "on"):
        uses = line["uses"]
        assert sum(use["share"] for use in uses.values()) == pytest.approx(1)
        assert uses["source input embedding"]["sides"]["target only"] == 0
        assert uses["target input embedding"]["sides"]["source only"] == 0
        assert all(norm > 0 for norm in uses["output embedding"]["sides"].values())
        for use in uses.values():
            squares = [sum(norm**2 for norm in use["sides"].values())]
            squares.append(sum(band["norm"] ** 2 for band in use["bands"]))
            assert squares[0] == pytest.approx(use["norm"] ** 2, rel=1e-4)
            assert squares[1] <= use["norm"] ** 2 * 1.0001  # special symbols are in no band


def test_learned_scales_are_in_the_log_and_the_summary(trained):
    entries = [*log_entries(trained / "on" / "train.log", "train_inner")]
    assert len(entries) == 6
    names = {"encoder": "source", "decoder": "target"}
    state = weights(trained / "on")
    for part, side in names.items():
        logged = [float(entry[f"input_scale_{side}"]) for entry in entries]
        assert logged[0] == 4.0 and len(set(logged)) > 2  # it starts there, and moves
        last = float(state[f"{part}.input_scale.factor"])
        summed = read_summary(trained / "on").input_scales[f"{side} input embedding"]
        assert summed == pytest.approx(last, abs=1e-4)

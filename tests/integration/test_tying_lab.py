"""What stands between a matrix and its uses, through the whole chain, all ways together."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch

import tiednmt.plugin  # noqa: F401
from tests.support.commandline import PLUGIN, run, train

pytestmark = pytest.mark.slow

WAYS = (
    *("--tying", "three-way", "--input-scale", "4", "--embedding-rank", 32),
    *("--output-map", "residual", "--output-map-depth", 2, "--output-map-dropout", 0.1),
    *("--private-units", "shared-units.txt"),
)


@pytest.fixture(scope="module")
def trained(data_bin, tmp_path_factory):
    """A run in one go and one in two; the log of the first."""
    folder = tmp_path_factory.mktemp("lab")
    measures = ("--measure-gradients", 2, "--measure-rows", 2)
    done = train(data_bin, folder / "whole", *WAYS, *measures, "--max-update", 4).check()
    for updates in (2, 4):
        train(data_bin, folder / "resumed", *WAYS, "--max-update", updates).check()
    return folder, done


def weights(folder):
    return torch.load(folder / "checkpoint_last.pt", map_location="cpu")["model"]


def test_the_log_and_the_checkpoint_say_what_there_is(trained, data_bin):
    folder, done = trained
    units = (data_bin / "shared-units.txt").read_text(encoding="utf-8").splitlines()
    signature = re.search(r"tie:three-way\|vocab:(\d+)\|dim:32\|matrices:1\|.*", done.output)[0]
    assert f"|proj:no|embed:128|private:{len(units)}|map:residual-2|" in signature
    private = weights(folder / "whole")["encoder.input_scale.private.weight"]
    assert private.shape == (len(units), 32)
    uses = json.loads((folder / "whole" / "gradient-shares.jsonl").read_text().splitlines()[0])
    assert sum(use["share"] for use in uses["uses"].values()) == pytest.approx(1)
    assert len(uses["uses"]) == 3


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(trained):
    whole, resumed = (weights(trained[0] / name) for name in ("whole", "resumed"))
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_it_translates_where_the_list_of_units_is_not(trained, data_bin, tmp_path):
    """fairseq's search and ours, of which int8 is another."""
    data = tmp_path / "data-bin"
    shutil.copytree(data_bin, data)
    (data / "shared-units.txt").unlink()
    path = trained[0] / "whole" / "checkpoint_last.pt"
    options = (data, *PLUGIN, "--path", path, "--beam", 2, "--max-len-a", 1)
    plain, ours, rounded = (
        re.findall(r"^H-(\d+\t\S+)\t(.*)$", run("fairseq-generate", *options, *more).stdout, re.M)
        for more in ((), ("--task", "tied_translation"), ("--task", "tied_translation", "--int8"))
    )
    assert len(plain) == len(ours) == len(rounded) == 10
    assert [text for _, text in plain] == [text for _, text in ours]


def test_it_is_analysed(trained, prepared, tmp_path):
    path = trained[0] / "whole" / "checkpoint_last.pt"
    run("-m", "scripts.analyse", path, "--data", prepared, "--out", tmp_path).check()
    record = json.loads((tmp_path / "analysis.json").read_text(encoding="utf-8"))
    tie = record["checkpoints"][0]["tie_map"]
    assert tie["others"]["output map"] == 2 * (32 * 32 + 32)
    assert "map:residual-2" in tie["between"]

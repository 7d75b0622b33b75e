"""Averaging checkpoints of a tiny model, through ``scripts.average`` too."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils

from preprocess import demo
from scripts import average as command
from tests.support.commandline import train
from tests.support.translators import WORDS, prepared_folder, save_translator
from tiednmt.averaging import average, last_checkpoints
from tiednmt.errors import UserError

KEEP = ("--save-interval-updates", 1, "--keep-interval-updates", 9, "--max-update", 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "prepared"
    small = ["--pairs", "100", "--merges", "100", "--vocabulary-threshold", "0", "--workers", "1"]
    demo.main(["--dest", str(folder), *small])
    return folder / "data-bin"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(data, folder, "--tying", "three-way", *KEEP).check()
    return folder


def weights(path):
    return torch.load(path, map_location="cpu")["model"]


def test_the_mean_of_the_last_checkpoints(run, data, tmp_path, capsys):
    output = tmp_path / "new" / "average.pt"
    command.main([str(run), "--last", "2", "--output", str(output)])
    assert "the mean of checkpoint_1_2.pt, checkpoint_1_3.pt" in capsys.readouterr().out
    mean = weights(output)
    one, other = weights(run / "checkpoint_1_2.pt"), weights(run / "checkpoint_1_3.pt")
    assert mean.keys() == one.keys()
    assert not torch.equal(one["decoder.output.bias"], other["decoder.output.bias"])
    for name, weight in mean.items():
        expected = (one[name] + other[name]) / 2 if weight.is_floating_point() else one[name]
        torch.testing.assert_close(weight, expected)

    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task(
        [str(output)], arg_overrides={"data": str(data)}
    )
    assert model.encoder.embedding.weight is model.decoder.embedding.weight


def test_torch_reads_the_mean_as_it_reads_the_checkpoints(run, tmp_path):
    """Without this package, which tells torch of fairseq's types."""
    output = tmp_path / "average.pt"
    command.main([str(run), "--last", "2", "--output", str(output)])
    load = "import sys, torch; [torch.load(path) for path in sys.argv[1:]]"
    files = str(run / "checkpoint_last.pt"), str(output)
    subprocess.run([sys.executable, "-c", load, *files], check=True)


def test_named_checkpoints(run, tmp_path):
    paths = [str(run / f"checkpoint_1_{updates}.pt") for updates in (1, 3)]
    command.main([*paths, "--output", str(tmp_path / "average.pt")])
    bias = "decoder.output.bias"
    mean = torch.stack([weights(path)[bias] for path in paths]).mean(0)
    torch.testing.assert_close(weights(tmp_path / "average.pt")[bias], mean)


def test_what_cannot_be_averaged(run, data, tmp_path):
    with pytest.raises(UserError, match="has 3 checkpoints, not 4; let fairseq-train keep more"):
        last_checkpoints(run, 4)
    other = tmp_path / "other"
    train(data, other, "--tying", "none", "--max-update", 1).check()
    with pytest.raises(UserError, match=r"other/.*: of another model than .*checkpoint_last"):
        average([run / "checkpoint_last.pt", other / "checkpoint_last.pt"])
    with pytest.raises(UserError, match=r"missing.pt: no such checkpoint"):
        average([run / "missing.pt"])
    with pytest.raises(UserError, match="a folder; give a checkpoint in it"):
        average([run])
    with pytest.raises(UserError, match=r"checkpoint_last\.pt: given twice"):
        average([run / "checkpoint_last.pt"] * 2)
    with pytest.raises(UserError, match=r"checkpoint_last\.pt: given twice"):
        average([run / "checkpoint_last.pt", run / ".." / run.name / "checkpoint_last.pt"])


def test_another_training_of_the_same_model_is_not_averaged(run, tmp_path):
    state = torch.load(run / "checkpoint_last.pt")
    state["cfg"]["common"]["seed"] += 1
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt: trained with another --seed than .*ensemble"):
        average([run / "checkpoint_last.pt", tmp_path / "other.pt"])


def test_what_is_read_is_not_replaced(run, tmp_path):
    paths = [str(tmp_path / name) for name in ("one.pt", "other.pt")]
    for path, updates in zip(paths, (1, 3), strict=True):
        shutil.copy(run / f"checkpoint_1_{updates}.pt", path)
    (tmp_path / "link.pt").symlink_to(paths[1])
    before = Path(paths[1]).read_bytes()
    for output in (paths[1], str(tmp_path / "link.pt")):
        with pytest.raises(SystemExit, match=f"--output {output}: is read"):
            command.main([*paths, "--output", output])
    assert Path(paths[1]).read_bytes() == before


def test_rows_of_other_units_are_not_averaged(tmp_path):
    """Vocabularies are often of one size, such as 8,000."""
    other = ["ü", *WORDS[1:]]
    paths = []
    for name, words in (("one", WORDS), ("other", other)):
        save_translator(tmp_path / f"{name}.pt", prepared_folder(tmp_path / name, words))
        paths.append(tmp_path / f"{name}.pt")
    with pytest.raises(UserError, match=r"other\.pt: of another model than .*one\.pt"):
        average(paths)
    assert average(paths[:1])["model"].keys() == weights(paths[0]).keys()


EMA = ("ema", "ema_fp32_params")  # where --store-ema and --ema-fp32 keep theirs


def averaged(path, data, shift, *parts):
    """A checkpoint with averages of its own, all of whose weights are moved by ``shift``."""
    save_translator(path, data)
    state = torch.load(path)
    moved = {n: w + shift if w.is_floating_point() else w for n, w in state["model"].items()}
    state["extra_state"] = {"epoch": shift, **{part: dict(moved) for part in parts}}
    torch.save(state, path)
    return path


def test_the_averages_of_ema_are_averaged(tmp_path):
    """fairseq starts from them, with --finetune-from-model and --store-ema or --ema-seed-model."""
    data = prepared_folder(tmp_path / "data", WORDS)
    paths = [averaged(tmp_path / f"{i}.pt", data, i, *EMA) for i in (1, 2)]
    state = average(paths)
    assert state["extra_state"]["epoch"] == 2
    for part in EMA:
        mean = state["extra_state"][part]
        assert mean.keys() == state["model"].keys()
        for name, weight in state["model"].items():
            expected = weight + 1.5 if weight.is_floating_point() else weight
            torch.testing.assert_close(mean[name], expected)


def test_averages_that_not_all_have_are_left_out(tmp_path):
    data = prepared_folder(tmp_path / "data", WORDS)
    paths = [
        averaged(tmp_path / "1.pt", data, 1, EMA[0]),
        averaged(tmp_path / "2.pt", data, 2, *EMA),
    ]
    for given in (paths, paths[::-1]):
        assert set(EMA) & average(given)["extra_state"].keys() == {EMA[0]}

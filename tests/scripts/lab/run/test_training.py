"""The model of a finished run: its best checkpoint, or the mean of its last ones."""

import json
import time
from contextlib import nullcontext

import pytest
import torch

from scripts.lab.run import training
from scripts.lab.run.processes import Resources
from scripts.lab.run.training import Run, train
from tiednmt.errors import UserError

WEIGHTS = {1: 1.0, 2: 5.0, 3: 2.0}


@pytest.fixture
def folder(tmp_path):
    """A run of three epochs that is finished, without its command."""
    for epoch, value in WEIGHTS.items():
        state = {
            "cfg": None,
            "model": {"weight": torch.full((2,), value)},
            "optimizer_history": [{"num_updates": epoch, "lr_scheduler_state": {}}],
            "last_optimizer_state": {"moments": torch.ones(2)},
            "extra_state": {"train_iterator": {"epoch": epoch}},
            "task_state": {},
        }
        names = [f"checkpoint{epoch}.pt", "checkpoint_last.pt"]
        for name in [*names, "checkpoint_best.pt"] if epoch == 1 else names:
            torch.save(state, tmp_path / name)
    return tmp_path


def finished(folder, average_last):
    run = Run("some", folder, ("data",), average_last=average_last)
    (folder / "command.json").write_text(json.dumps({"command": run.command, "finished": True}))
    train([run], 1)
    return run


def weight(path):
    return torch.load(path)["model"]["weight"]


def test_without_average_the_best_one_counts(folder):
    run = finished(folder, 0)
    assert weight(run.checkpoint).tolist() == [WEIGHTS[1]] * 2
    assert len([*folder.glob("*.pt")]) == 5


def test_the_mean_takes_the_place_of_what_it_is_of(folder):
    run = finished(folder, 2)
    assert weight(run.checkpoint).tolist() == [(WEIGHTS[2] + WEIGHTS[3]) / 2] * 2
    assert {path.name for path in folder.glob("*.pt")} == {
        *("checkpoint_best.pt", "checkpoint_last.pt", run.checkpoint.name)
    }
    made = run.checkpoint.stat().st_mtime_ns
    assert finished(folder, 2).checkpoint.stat().st_mtime_ns == made


def test_cut_off_between_the_mean_and_the_tidying(folder):
    """What is left over is removed, and is not averaged again."""
    left = {path: path.read_bytes() for path in folder.glob("checkpoint[0-9].pt")}
    run = finished(folder, 2)
    for path, content in left.items():
        path.write_bytes(content)
    torch.save({}, folder / "checkpoint3.pt")  # cannot be averaged
    finished(folder, 2)
    assert weight(run.checkpoint).tolist() == [(WEIGHTS[2] + WEIGHTS[3]) / 2] * 2
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("average_last", [0, 2])
def test_a_finished_run_that_has_lost_its_checkpoint_is_refused(folder, average_last):
    """It is not trained again unasked."""
    lost = finished(folder, average_last).best
    lost.unlink()
    with pytest.raises(UserError, match=f"{lost}: missing, although .* remove {folder} to train"):
        finished(folder, average_last)


def test_too_few_checkpoints(folder):
    with pytest.raises(UserError, match="has 3 checkpoints, not 4"):
        finished(folder, 4)
    assert len([*folder.glob("*.pt")]) == 5, "nothing is deleted"


@pytest.mark.parametrize(
    ("options", "known"),
    [
        (("--encoder-layers", "1", "--label-smoothing", "0.0"), True),  # spelt out
        (("--label-smoothing", "0"), True),
        (("--cpu",), True),  # trained where there is a GPU
        (("--encoder-layers", "2"), False),
        (("--no-such-option",), False),
    ],
)
def test_a_command_line_is_known_by_what_it_means(tmp_path, options, known):
    arguments = ("DATA", "--arch", "tied_gru_tiny", "--criterion", "tied_cross_entropy")
    before = ["fairseq-train", *arguments, "--save-dir", str(tmp_path)]
    text = json.dumps({"command": before, "finished": True})
    (tmp_path / "command.json").write_text(text)
    (tmp_path / "checkpoint_best.pt").touch()
    run = Run("some", tmp_path, (*arguments, *options))
    if known:
        train([run], 1)
    else:
        with pytest.raises(UserError, match="holds a run with another command line"):
            train([run], 1)
    assert {path.name for path in tmp_path.iterdir()} == {"command.json", "checkpoint_best.pt"}


@pytest.mark.parametrize(("data", "known"), [("DATA", True), ("ELSEWHERE", False)])
def test_a_run_is_known_where_its_folder_has_moved(tmp_path, data, known):
    arguments = ("--arch", "tied_gru_tiny", "--criterion", "tied_cross_entropy")
    before = Run("some", tmp_path / "before", ("DATA", *arguments))
    text = json.dumps({"command": before.command, "finished": True, "data": None})
    (tmp_path / "command.json").write_text(text)
    (tmp_path / "checkpoint_best.pt").touch()
    run = Run("some", tmp_path, (data, *arguments))
    with nullcontext() if known else pytest.raises(UserError, match="another command line"):
        train([run], 1)


@pytest.fixture
def in_progress(tmp_path, monkeypatch):
    """A run whose process only sleeps, and the file that it would write."""
    run = Run("some", tmp_path, ("data",), max_update=10)
    monkeypatch.setattr(training.sys, "executable", "true")
    child = training._Training(run, 1, Resources(1, None))
    with run.log.open("ab", buffering=0) as log:
        yield child, log
    child.stop()


def test_a_log_is_followed_while_a_character_is_half_written(in_progress, capsys):
    child, log = in_progress
    entry = b'| INFO | train_inner | {"num_updates": "7", "update": 0.5, "ppl": "9"}\n'
    for written in ("…".encode()[:1], "…".encode()[1:] + b"\n" + entry):
        log.write(written)
        child.show_progress()
    assert "7 of 10 updates" in capsys.readouterr().err
    log.write(b"\xff\n")
    assert [found["ppl"] for found in training.log_entries(child.run.log, "train_inner")] == ["9"]


def test_progress_early_in_a_long_epoch(tmp_path, monkeypatch, capsys):
    """fairseq says epochs in thousandths."""
    monkeypatch.setattr(training.sys, "executable", "true")
    run = Run("some", tmp_path, ("data",), max_epoch=2)
    child = training._Training(run, 1, Resources(1, None))
    for updates, epochs in ((5, "0.0"), (20_000, "2.0")):
        entry = {"num_updates": str(updates), "update": float(epochs), "ppl": "9"}
        with run.log.open("a") as log:
            log.write(f"| INFO | train_inner | {json.dumps(entry)}\n")
        child.show_progress()
    child.stop()
    early, late = capsys.readouterr().err.splitlines()
    assert early.startswith("some: 5 updates,")
    assert late.startswith("some: 20,000 of 20,000 updates,")


def test_a_training_that_cannot_be_recorded_is_not_started(tmp_path, monkeypatch):
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\n")
    program.chmod(0o755)
    monkeypatch.setattr(training.sys, "executable", str(program))

    def full(path, content):
        raise UserError(f"{path}: cannot be written: No space left on device")

    monkeypatch.setattr(training, "write_json", full)
    with pytest.raises(UserError, match="No space left"):
        train([Run("some", tmp_path / "run", ("data",))], 1)
    time.sleep(0.5)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("part", ["data-bin", "data-bin/shard0"])
def test_a_run_on_other_data_is_refused(folder, tmp_path_factory, part):
    """Other training text, validation sets or dictionaries; not so another test set."""
    data = tmp_path_factory.mktemp("data")
    names = {"train": f"{part}/train.en-de.en.bin", "test": f"{part}/test.en-de.en.bin"}

    def prepare(**digests):
        files = {names[name]: digest for name, digest in digests.items()}
        (data / "manifest.json").write_text(json.dumps({"files": files}))

    prepare(train="a", test="b")
    run = Run("some", folder, (str(data / part),))
    content = {"command": run.command, "finished": True, "data": run.data_digest()}
    (folder / "command.json").write_text(json.dumps(content))
    train([run], 1)
    prepare(train="a", test="c")
    train([run], 1)
    prepare(train="b", test="c")
    with pytest.raises(UserError, match=r"holds a run on other data than .* has now; remove it or"):
        train([run], 1)


def test_a_run_says_where_it_was_trained(tmp_path, monkeypatch):
    run = Run("some", tmp_path / "run", ("data",))
    assert training.trained_on([run]) is None
    monkeypatch.setattr(training.sys, "executable", "true")
    run.folder.mkdir()
    run.best.touch()
    for jobs in (3, 1):  # the second call trains nothing
        train([run], jobs)
        assert training.trained_on([run]).runs_side_by_side == 3
    other = Run("other", tmp_path / "other", ("data",))
    train([run, other], 2)
    assert training.trained_on([run, other]).runs_side_by_side == 2
    assert training.trained_on([run]).runs_side_by_side == 3


def test_a_run_says_where_it_was_trained_though_another_fails(tmp_path, monkeypatch):
    good, bad = (Run(name, tmp_path / name, ("data",)) for name in ("good", "bad"))
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\ncase "$*" in *bad*) sleep 1; exit 1;; esac\n')
    program.chmod(0o755)
    monkeypatch.setattr(training.sys, "executable", str(program))
    with pytest.raises(UserError, match="training of bad"):
        train([good, bad], 2)
    assert training.trained_on([good]).runs_side_by_side == 2


def test_data_without_a_manifest_are_not_compared(folder):
    run = finished(folder, 0)
    assert run.data_digest() is None

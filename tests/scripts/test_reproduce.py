"""The command line that runs an experiment."""

import sys
from pathlib import Path

import pytest

from scripts import quickstart, reproduce
from scripts.lab import runner
from scripts.lab.records.schema import Validation
from scripts.lab.run.specs import load_experiment
from scripts.lab.run.summary import add_validation
from scripts.lab.store import read_record


@pytest.fixture
def world(monkeypatch, tmp_path):
    """Commands and trainings that are noted in place of being run; ``runs/`` is in a new folder.

    Each training leaves what the record says of it.
    """
    monkeypatch.chdir(tmp_path)
    noted = {"commands": [], "runs": [], "jobs": []}

    def call(command):
        noted["commands"].append(command[2:])

    def train(runs, jobs):
        noted["runs"] += runs
        noted["jobs"].append(jobs)
        for run in runs:
            run.folder.mkdir(parents=True)
            run.checkpoint.touch()
            add_validation(run.folder, Validation(update=1, epoch=1, nll=5.0), 10, 1.0)

    monkeypatch.setattr(runner, "call", call)
    monkeypatch.setattr(runner, "train", train)
    monkeypatch.setattr(runner, "data_bins", lambda data: [data / "data-bin"])
    return noted


def test_what_is_recorded_can_be_repeated(world, capsys):
    arguments = ["ptb-large-begun", "--seeds", "3", "--jobs", "2", "--raw", "/some/where"]
    reproduce.main(arguments)
    out = Path("runs/ptb-large-begun")
    record = read_record(out / "record.json")
    assert record.command == "python -m scripts.reproduce ptb-large-begun --seeds 3 --jobs 2"
    assert record.machine.runs_side_by_side == 2
    assert all(row.seeds == (1, 2, 3) for row in record.rows)
    dest = out.absolute() / "data"  # child processes run in the clone
    prepared = ["preprocess.ptb", "--raw", "/some/where", "--dest", f"{dest}"]
    assert world["commands"] == [prepared]
    assert len(world["runs"]) == 3 * len(record.rows) and world["jobs"] == [2]
    for text in ((out / "table.md").read_text(), capsys.readouterr().out):
        assert "| wt | 10 | 148 |" in text  # e⁵


def test_defaults(world):
    reproduce.main(["ptb-large-begun"])
    record = read_record(Path("runs/ptb-large-begun/record.json"))
    assert record.command == "python -m scripts.reproduce ptb-large-begun"
    assert record.row_names == [*load_experiment("ptb-large-begun").rows]
    assert all(row.seeds == (1,) for row in record.rows)


def test_some_rows_and_further_seeds(world):
    reproduce.main(["ptb-large-begun", "--rows", "bd+wt", "wt", "--seeds", "2-3"])
    record = read_record(Path("runs/ptb-large-begun/record.json"))
    assert record.row_names == ["wt", "bd+wt"]
    assert [run.folder.name for run in world["runs"]] == [
        *("wt-seed-2", "bd+wt-seed-2", "wt-seed-3", "bd+wt-seed-3")
    ]
    assert "--rows bd+wt wt --seeds 2-3" in record.command


def test_quickstart_stands_on_the_same_runner(world, monkeypatch):
    """Up to the scoring, which finds no corpus."""
    monkeypatch.setattr(
        sys, "argv", ["quickstart", "--data", "multi30k", "--pair", "en-fr", "--jobs", "4"]
    )
    with pytest.raises(SystemExit, match=r"runs/multi30k-en-fr/data/manifest.json"):
        quickstart.main()
    (prepared,) = world["commands"]
    assert prepared[:3] == ["preprocess.multi30k", "--pair", "en-fr"]
    assert [run.name for run in world["runs"]] == ["none", "decoder", "three-way"]
    assert world["jobs"] == [4]


def test_unknown_experiment_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        reproduce.main(["ptb-huge"])
    assert str(stop.value).startswith("error: no experiment is called ptb-huge; there are demo, ")
    assert "ptb-small" in str(stop.value) and "\n" not in str(stop.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["wt", "wd"], "ptb-small has no rows wd; it has none, wt, pr, wt+pr"),
        (["wt", ""], "ptb-small has no rows ; it has none, wt, pr, wt+pr"),
    ],
)
def test_rows_that_there_are_not(world, rows, message):
    with pytest.raises(SystemExit) as stop:
        reproduce.main(["ptb-small", "--rows", *rows])
    assert str(stop.value) == f"error: {message}"
    assert not world["commands"] and not world["runs"]


@pytest.mark.parametrize(
    ("option", "given", "fault"),
    [
        ("--jobs", "0", "0: must be 1 or more"),
        ("--seeds", "0", "0: give 1 to 1000 seeds, as 3 or 2-3"),
        ("--seeds", "3-2", "3-2: give 1 to 1000 seeds, as 3 or 2-3"),
        ("--seeds", "2-", "2-: give 1 to 1000 seeds, as 3 or 2-3"),
    ],
)
def test_numbers_above_zero(option, given, fault, capsys):
    with pytest.raises(SystemExit):
        reproduce.main(["demo", option, given])
    assert f"argument {option}: {fault}" in capsys.readouterr().err

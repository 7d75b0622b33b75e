"""The command line that runs an experiment."""

import sys

import pytest

from scripts import quickstart, reproduce


@pytest.fixture
def calls(monkeypatch):
    """What the runner was asked for, in place of hours of training."""
    asked = []

    class Results:
        @staticmethod
        def page(record):
            return "the page"

    def run_experiment(experiment, out, command, raw, jobs, seeds, wordsim):
        asked.append((experiment.name, str(out), command, raw, jobs, seeds))
        return {}

    monkeypatch.setattr(reproduce, "run_experiment", run_experiment)
    monkeypatch.setattr(reproduce, "results_of", lambda experiment: Results)
    return asked


def test_what_is_recorded_can_be_repeated(calls, capsys):
    reproduce.main(["ptb-small", "--seeds", "3", "--jobs", "2", "--raw", "/some/where"])
    (name, out, command, raw, jobs, seeds) = calls[0]
    assert (name, out, str(raw), jobs, seeds) == (
        "ptb-small",
        "runs/ptb-small",
        "/some/where",
        2,
        (1, 2, 3),
    )
    assert command == "python -m scripts.reproduce ptb-small --seeds 3 --jobs 2"
    assert "the page" in capsys.readouterr().out


def test_defaults(calls):
    reproduce.main(["demo"])
    assert calls[0] == ("demo", "runs/demo", "python -m scripts.reproduce demo", None, None, (1,))


def test_quickstart_stands_on_the_same_runner(calls, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["quickstart", "--data", "multi30k", "--pair", "en-fr", "--jobs", "4"]
    )
    quickstart.main()
    command = "./scripts/quickstart.sh --data multi30k --pair en-fr --jobs 4"
    assert calls[0] == ("multi30k-en-fr", "runs/multi30k-en-fr", command, None, 4, (1,))


def test_unknown_experiment_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        reproduce.main(["ptb-huge"])
    assert str(stop.value).startswith("error: no experiment is called ptb-huge; there are demo, ")
    assert "ptb-small" in str(stop.value) and "\n" not in str(stop.value)


def test_some_rows_and_further_seeds(calls):
    reproduce.main(["ptb-small", "--rows", "wt+pr", "none", "--seeds", "2-3"])
    *_, command, _, _, seeds = calls[0]
    assert seeds == (2, 3)
    assert command == "python -m scripts.reproduce ptb-small --rows wt+pr none --seeds 2-3"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["wt", "wd"], "ptb-small has no rows wd; it has none, wt, pr, wt+pr"),
        (["wt", ""], "ptb-small has no rows ; it has none, wt, pr, wt+pr"),
        (["three-way"], "multi30k-en-de: rows are compared with none, fairseq lstm: name it too"),
    ],
)
def test_rows_that_cannot_be_alone(calls, rows, message):
    name = "ptb-small" if "wt" in rows else "multi30k-en-de"
    with pytest.raises(SystemExit) as stop:
        reproduce.main([name, "--rows", *rows])
    assert str(stop.value) == f"error: {message}"
    assert not calls


@pytest.mark.parametrize(
    ("option", "given", "kind"),
    [
        ("--jobs", "0", "whole number above zero"),
        ("--seeds", "0", "number of seeds or range of them (3, 2-3)"),
        ("--seeds", "3-2", "number of seeds or range of them (3, 2-3)"),
        ("--seeds", "2-", "number of seeds or range of them (3, 2-3)"),
    ],
)
def test_numbers_above_zero(option, given, kind, capsys):
    with pytest.raises(SystemExit):
        reproduce.main(["demo", option, given])
    assert f"argument {option}: invalid {kind} value: '{given}'" in capsys.readouterr().err

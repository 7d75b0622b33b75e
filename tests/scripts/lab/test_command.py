"""The options that commands which run an experiment have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from scripts.lab import command
from scripts.lab.command import MOST_SEEDS, seed_numbers
from scripts.lab.run.specs import ROOT


@pytest.mark.parametrize(("text", "numbers"), [("3", (1, 2, 3)), ("2-3", (2, 3)), ("7-7", (7,))])
def test_seeds(text, numbers):
    assert seed_numbers(text) == numbers


def test_at_most_so_many_seeds():
    assert len(seed_numbers(str(MOST_SEEDS))) == MOST_SEEDS


@pytest.mark.parametrize("text", ["1-1000000000", "1000000000", "0", "3-2", "x", "-1"])
def test_no_seeds(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text}: give 1 to {MOST_SEEDS} seeds"):
        seed_numbers(text)


def test_folders_are_those_of_the_caller(tmp_path, monkeypatch):
    """Child processes run in the clone, wherever the command was started."""
    given = []
    monkeypatch.setattr(command, "run_experiment", lambda *arguments: given.append(arguments))
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)

    def run(*words):
        _, out = command.run("demo", "the command", parser.parse_args(words))
        (_, folder, _, options), *_ = given
        given.clear()
        assert folder == out
        return out, options.raw

    monkeypatch.chdir(tmp_path)
    assert run("--out", "run", "--raw", "texts") == (tmp_path / "run", tmp_path / "texts")
    assert run() == (tmp_path / "runs" / "demo", None)
    monkeypatch.chdir(ROOT)
    assert run("--out", "run", "--raw", "/texts") == (Path("run"), Path("/texts"))

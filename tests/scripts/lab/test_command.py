"""The options that commands which run an experiment have in common."""

from __future__ import annotations

import argparse

import pytest

from scripts.lab.command import MOST_SEEDS, seed_numbers


@pytest.mark.parametrize(("text", "numbers"), [("3", (1, 2, 3)), ("2-3", (2, 3)), ("7-7", (7,))])
def test_seeds(text, numbers):
    assert seed_numbers(text) == numbers


def test_at_most_so_many_seeds():
    assert len(seed_numbers(str(MOST_SEEDS))) == MOST_SEEDS


@pytest.mark.parametrize("text", ["1-1000000000", "1000000000", "0", "3-2", "x", "-1"])
def test_no_seeds(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text}: give 1 to {MOST_SEEDS} seeds"):
        seed_numbers(text)

"""Options of a command from a dataclass, and the command line from its values."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import pytest

from tiednmt.options import add_options, command_words, from_arguments, option, positive


@dataclass(frozen=True, kw_only=True)
class Options:
    data: Path = option("a folder", metavar="DIR")
    batch_size: int = option("per batch", default=8, type=positive)
    against: str = option(choices=("lstm", "transformer"), default="lstm")
    arch: str | None = option("an architecture", default=None)
    sizes: tuple[int, ...] = option("of 100% of it", default=(1, 2), type=positive)
    more: tuple[int, ...] = option(default=(), repeated=True)
    int8: bool = option("int8 weights", default=False)
    python: str = option("differs from machine to machine", default="python3", recorded=False)


def parser():
    result = argparse.ArgumentParser()
    add_options(result, Options)
    return result


def parsed(*words):
    return from_arguments(Options, parser().parse_args(words))


def test_defaults_are_the_fields():
    assert parsed("--data", "d") == Options(data=Path("d"))


GIVEN = (
    *("--data", "some folder", "--batch-size", "3", "--against", "transformer", "--arch", "tiny"),
    *("--sizes", "5", "6", "7", "--more", "0", "--more", "4", "--int8"),
)


def test_every_option_is_read_and_the_command_line_repeats_it():
    options = parsed(*GIVEN)
    expected = Options(
        data=Path("some folder"),
        batch_size=3,
        against="transformer",
        arch="tiny",
        sizes=(5, 6, 7),
        more=(0, 4),
        int8=True,
    )
    assert options == expected
    assert command_words(options) == list(GIVEN)


def test_what_is_not_given_is_not_repeated_but_defaults_are():
    words = command_words(parsed("--data", "d", "--python", "/opt/python"))
    assert words == ["--data", "d", "--batch-size", "8", "--against", "lstm", "--sizes", "1", "2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the following arguments are required: --data"),
        (("--data", "d", "--batch-size", "0"), "invalid whole number above zero value: '0'"),
        (("--data", "d", "--sizes", "0"), "invalid whole number above zero value: '0'"),
        (("--data", "d", "--against", "gru"), "invalid choice: 'gru'"),
    ],
)
def test_what_is_refused(words, message, capsys):
    with pytest.raises(SystemExit):
        parsed(*words)
    assert message in capsys.readouterr().err


def test_the_help_says_what_the_defaults_are():
    text = " ".join(parser().format_help().split())
    assert "--batch-size N per batch (default: 8)" in text
    assert "--sizes N [N ...] of 100% of it (default: 1 2)" in text
    assert "--int8 int8 weights" in text
    assert "--arch NAME an architecture --sizes" in text

"""Options of a command from a dataclass, and the command line from its values."""

from __future__ import annotations

import argparse
import ast
import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from preprocess.corpus import Options as PrepareOptions
from scripts.lab.baselines.skip_gram import SkipGram
from tiednmt.errors import UserError
from tiednmt.options import (
    Range,
    add_options,
    command_words,
    from_arguments,
    option,
    positive,
    require_ranges,
)
from tiednmt.translation.settings import Search

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Options:
    data: Path = option("a folder", metavar="DIR")
    batch_size: int = option("per batch", default=8, type=positive)
    against: str = option(choices=("lstm", "transformer"), default="lstm")
    arch: str | None = option("an architecture", default=None)
    sizes: tuple[int, ...] = option("of 100% of it", default=(1, 2), type=positive)
    more: tuple[int, ...] = option(default=(), repeated=True, type=Range(0, 9))
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


def test_values_of_an_option_given_twice_are_all_taken():
    assert parsed("--data", "d", "--sizes", "5", "--sizes", "6", "7").sizes == (5, 6, 7)
    assert parsed("--data", "d", "--sizes", "1", "2", "--sizes", "1").sizes == (1, 2, 1)


def test_what_is_not_given_is_not_repeated_but_defaults_are():
    words = command_words(parsed("--data", "d", "--python", "/opt/python"))
    assert words == ["--data", "d", "--batch-size", "8", "--against", "lstm", "--sizes", "1", "2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the following arguments are required: --data"),
        (("--data", "d", "--batch-size", "0"), "0: must be 1 or more"),
        (("--data", "d", "--sizes", "0"), "0: must be 1 or more"),
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


@dataclass(frozen=True)
class Further:
    units: str = option("kind of unit", default="bpe", also="--kind")
    check: bool = option("look closely", default=True, negatable=True)
    parts: int = option("parts", default=2, within=Range(1, 9))

    def __post_init__(self) -> None:
        require_ranges(self)


class TestFurtherKindsOfOptions:
    def parser(self, **defaults):
        result = argparse.ArgumentParser()
        add_options(result, Further)
        result.set_defaults(**defaults)
        return result

    def read(self, *words):
        return from_arguments(Further, self.parser().parse_args(words))

    def test_an_option_of_two_names_and_a_flag_with_its_opposite(self):
        assert self.read() == Further("bpe", True, 2)
        assert self.read("--kind", "x", "--no-check", "--parts", "9") == Further("x", False, 9)

    def test_a_bound_beside_the_type_is_checked_by_the_dataclass(self):
        with pytest.raises(UserError, match=r"--parts 10: must be 9 or less"):
            self.read("--parts", "10")

    def test_the_help_shows_the_defaults_of_the_command(self):
        text = " ".join(self.parser(parts=7).format_help().split())
        assert "parts (default: 7)" in text
        assert "look closely (default: --check)" in text


def bare_numbers(path):
    """Where a command line takes a number of any size."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument":
            kinds = [keyword.value for keyword in call.keywords if keyword.arg == "type"]
            if any(isinstance(kind, ast.Name) and kind.id in ("int", "float") for kind in kinds):
                yield f"{path}, line {call.lineno}"


class TestRanges:
    def test_every_number_has_one(self):
        folders = (ROOT / name for name in ("tiednmt", "scripts", "tests/faults"))
        files = [path for folder in folders for path in folder.rglob("*.py")]
        assert len(files) > 200
        assert [found for path in files for found in bare_numbers(path)] == []

    def test_a_field_without_one_is_a_defect(self):
        @dataclass
        class Bare:
            size: int = option("of anything", default=3)

        with pytest.raises(TypeError, match="--size"):
            add_options(argparse.ArgumentParser(), Bare)

    @pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e308", "-10.5", "", "many"])
    def test_what_is_no_number_of_the_range_is_refused(self, text):
        with pytest.raises(argparse.ArgumentTypeError, match="must be"):
            Range(-10, 10, float)(text)

    @pytest.mark.parametrize("text", ["0", "-1", "1001", "9" * 5000, "1.5", "10**13", "nan"])
    def test_nor_a_whole_number_out_of_it(self, text):
        with pytest.raises(argparse.ArgumentTypeError, match="must be"):
            Range(1, 1000)(text)

    def test_its_ends_are_in_it_and_it_says_them(self):
        assert [Range(1, 1000)(text) for text in ("1", "1000")] == [1, 1000]
        assert str(Range(1, 1000)) == "from 1 to 1,000"

    @pytest.mark.parametrize(
        ("changes", "option"),
        [
            ({"lenpen": math.nan}, "--lenpen"),
            ({"lenpen": math.inf}, "--lenpen"),
            ({"lenpen": 1e308}, "--lenpen"),
            ({"beam": 10**13}, "--beam"),
            ({"beam": 0}, "--beam"),
            ({"max_tokens": -1}, "--max-tokens"),
            ({"max_sentences": 0}, "--max-sentences"),
        ],
    )
    def test_a_search_in_python_has_the_same(self, changes, option):
        with pytest.raises(UserError, match=option):
            Search(**changes)

    @pytest.mark.parametrize(
        ("changes", "option"),
        [
            ({"window": 0}, "--window"),
            ({"window": -1}, "--window"),
            ({"vector_size": 0}, "--vector-size"),
            ({"negative": 0}, "--negative"),
            ({"sample": math.nan}, "--sample"),
            ({"sample": -1}, "--sample"),
            ({"min_count": -1}, "--min-count"),
            ({"epochs": 0}, "--epochs"),
        ],
    )
    def test_skip_gram(self, changes, option):
        with pytest.raises(UserError, match=option):
            SkipGram(**changes)

    @pytest.mark.parametrize(
        ("changes", "option"),
        [
            ({"workers": 100_000}, "--workers"),
            ({"max_ratio": math.nan}, "--max-ratio"),
            ({"max_ratio": math.inf}, "--max-ratio"),
            ({"merges": 10**15}, "--merges"),
            ({"parts": 10**9}, "--parts"),
            ({"vocabulary_threshold": -1}, "--vocabulary-threshold"),
        ],
    )
    def test_preparing(self, changes, option):
        with pytest.raises(UserError, match=option):
            PrepareOptions(**changes)

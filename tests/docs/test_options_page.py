"""docs/options.md: what it shows of parsers, and that every option of ours says what it does."""

import argparse
from pathlib import Path

import pytest

from scripts.lab import options_page
from scripts.lab.options_page import actions, command_modules, parser_of, with_subcommands

COMMANDS = command_modules()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_text(command):
    for title, parser in with_subcommands(command, parser_of(COMMANDS[command])):
        assert [a.dest for a in actions(parser) if not a.help] == [], title


@pytest.fixture
def rows():
    """The table of a few options, a line each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files")
    parser.add_argument("--segmentation", "--bpe", default="auto", metavar="METHOD", help="how")
    parser.add_argument("-s", "--source", metavar="CODE", help="a language")
    parser.add_argument("--check", action=argparse.BooleanOptionalAction, default=False, help="a")
    parser.add_argument("--join", action=argparse.BooleanOptionalAction, default=True, help="b")
    parser.add_argument("--beam", type=int, default=5, help="hypotheses (default: %(default)s)")
    parser.add_argument("--tying", choices=("none", "decoder"), required=True, help="<mode>")
    return options_page._table([*actions(parser)]).splitlines()[2:]


def test_rows_show_what_one_types(rows):
    assert rows == [
        "| `FILE [FILE ...]` |  | files |",
        "| `--segmentation METHOD` | `auto` | how |",
        "| `--source CODE` |  | a language |",
        "| `--check, --no-check` | `--no-check` | a |",
        "| `--join, --no-join` | `--join` | b |",
        "| `--beam N` | `5` | hypotheses |",
        "| `--tying {none,decoder}` | required | &lt;mode> |",
    ]


def test_options_whose_default_is_that_of_another_have_their_kind():
    """fairseq's parser does not know it of them."""
    table = options_page.table("tied_gru")
    assert "| `--embedding-dropout X` |" in table
    assert "| `--encoder-hidden-size N` |" in options_page.table("tied_lstm")


def test_a_command_with_nearly_the_options_of_another_shows_the_difference():
    page = options_page.table("scripts") + options_page.table("preprocess")
    sections = dict(each.split("`\n\n", 1) for each in page.split("### `")[1:])
    assert sections["python -m scripts.evaluate"].strip() == "As `tiednmt evaluate`."
    wmt17 = sections["python -m preprocess.wmt17"]
    assert "As `python -m preprocess.iwslt14`, but for" in wmt17
    assert "| `--merges N` | `32000` |" in wmt17
    assert "--workers" not in wmt17
    assert "| `--workers N` | `0` | number" in sections["python -m preprocess.iwslt14"]
    assert "python -m scripts.lowest" not in sections  # it has no options

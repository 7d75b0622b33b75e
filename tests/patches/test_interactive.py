"""``fairseq-interactive`` answers every line that it is given."""

from __future__ import annotations

import logging
import re
import sys

import pytest
from fairseq_cli import interactive

from tests.support.commandline import run
from tests.support.untrained import save_untrained

LIMIT = 9  # of units with the end of sentence
LONG = " ".join(f"w{i % 19}" for i in range(40))
LINES = ["w1 w2", LONG, "", "w3", " ".join(LONG.split()[: LIMIT - 1]), "w4  w5"]


@pytest.fixture(scope="module")
def short(data, tmp_path_factory):
    """A model of either task that takes few units."""
    path = tmp_path_factory.mktemp("short") / "short.pt"
    limits = ("--max-source-positions", LIMIT, "--max-target-positions", LIMIT)
    save_untrained(path, data, "--task", "translation", "--arch", "tied_gru_tiny", *limits)
    return path


@pytest.fixture
def answers(data, short, tmp_path, monkeypatch, capsys):
    def run(*options, lines=LINES):
        (tmp_path / "input.txt").write_text("".join(f"{line}\n" for line in lines))
        words = ("--path", short, "--input", tmp_path / "input.txt", "--cpu", "--max-len-b", 4)
        monkeypatch.setattr(sys, "argv", ["fairseq", *map(str, (data, *words, *options))])
        interactive.cli_main()
        found = capsys.readouterr().out
        return {
            kind: {int(n): text for n, text in re.findall(rf"^{kind}-(\d+)\t(.*)$", found, re.M)}
            for kind in ("S", "H")
        }

    return run


STARTED = ("fairseq-interactive",), ("-m", "fairseq_cli.interactive"), (interactive.__file__,)


@pytest.mark.parametrize("started", STARTED, ids=["script", "module", "file"])
def test_however_the_command_is_started(started, data, short, tmp_path):
    """Python runs a module of its own for ``-m``, and for a file."""
    (tmp_path / "input.txt").write_bytes(b"w1\rw2\nw3\n")  # two lines
    words = (data, "--user-dir", "tiednmt", "--path", short, "--input", tmp_path / "input.txt")
    found = run(*started, *words, "--cpu").check().stdout
    assert re.findall(r"^S-(\d+)", found, re.M) == ["0", "1"]
    refused = run(*started, *words, "--cpu", "--score-reference")
    assert refused.status == 1
    assert refused.stderr.splitlines()[-1].startswith("error: --score-reference")


@pytest.mark.parametrize("buffer", [1, 4])
@pytest.mark.parametrize(
    "more", [(), ("--skip-invalid-size-inputs-valid-test",), ("--task", "tied_translation")]
)
def test_a_line_that_is_too_long_costs_no_other(buffer, more, answers, caplog):
    with caplog.at_level(logging.WARNING, "tiednmt"):
        found = answers("--buffer-size", buffer, *more)
    assert found["H"].keys() == found["S"].keys() == {*range(len(LINES))}
    assert found["S"][1] == found["S"][4] == LINES[4]  # cut, and as long as may be
    assert found["H"][1] == found["H"][4]
    assert [found["S"][i] for i in (0, 3, 5)] == ["w1 w2", "w3", "w4 w5"]
    warnings = [record.getMessage() for record in caplog.records if "longer" in record.getMessage()]
    assert len(warnings) == 1 and "40" in warnings[0]


def test_nor_one_of_more_units_than_a_batch(answers):
    found = answers("--buffer-size", 4, "--max-tokens", 6)
    assert found["H"].keys() == {*range(len(LINES))}
    assert found["S"][1] == "w0 w1 w2 w3 w4"


def test_a_carriage_return_divides_no_line(answers):
    found = answers(lines=["w1\rw2", "w3\u2028w4\r", "w5"])
    assert found["S"] == {0: "w1 w2", 1: "w3 w4", 2: "w5"}

"""What a newcomer reads at the end of the quick start."""

import shlex
from pathlib import Path

import pytest

from scripts.lab.figures.translation import claim
from scripts.lab.kinds import KINDS
from scripts.lab.options_page import parser_of
from scripts.lab.store import RESULTS, read_record
from scripts.quickstart import next_commands, shown
from tests.support import records
from tiednmt.errors import UserError
from tiednmt.typed import from_json

OUT = Path("runs/a demo")


def record(**options):
    content = {k: v for k, v in records.translation(**options).items() if k != "format"}
    return from_json(KINDS[content["kind"]].record, content)


def test_the_claim_with_its_interval():
    """Against the table of the same record, which other tests hold against the statistics."""
    demo = read_record(RESULTS / "demo.json")
    told = claim(demo, "three-way")
    assert "three-way has 60% of the parameters of none" in told
    assert "97.83; none has 97.77. The difference is +0.06 (95% interval -0.30 to +0.43)" in told
    assert "with 95% confidence, three-way is not worse by more than 0.23" in told
    assert told.endswith("over seeds and test sentences.")


def test_one_seed_is_not_taken_for_more():
    assert "one run each says nothing of other seeds" in claim(record(seeds=1), "three-way")


def test_the_claim_of_a_row_that_is_not_there():
    with pytest.raises(UserError, match="the rows five-way and none"):
        claim(record(seeds=1), "five-way")


def test_the_end_is_table_claim_and_three_commands():
    done = record(seeds=1)
    text = shown(done, OUT)
    assert text.index("| none |") < text.index("three-way has") < text.index("Next:")
    assert "Training commands" not in text
    commands = text[text.index("Next:\n") :].splitlines()[1:]
    assert [line.strip() for line in commands] == next_commands(done, OUT) and len(commands) == 3
    for line, module in zip(commands, ("evaluate", "report", "bitext"), strict=True):
        words = shlex.split(line.rpartition(" | ")[2] if " | " in line else line)
        (module,) = (word for word in words if word.endswith(module))
        arguments = words[words.index(module) + 1 :]
        parser_of(module).parse_args(arguments)  # exits where it does not know one
    assert f"{OUT}/three-way/checkpoint_best.pt" in shlex.split(commands[0])

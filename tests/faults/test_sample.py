"""A sample of malformed inputs of every kind; ``python -m tests.faults`` tries more."""

from __future__ import annotations

import logging

import pytest

from tests.faults import commands, harness, world
from tests.faults.kinds import KINDS

EACH = 4


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    logging.disable(logging.INFO)
    commands.load_all()
    yield world.make(tmp_path_factory.mktemp("world"))
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("kind", KINDS)
def test_no_input_of_the_sample_does_harm(kind, good):
    for outcome in harness.outcomes(good, EACH, seed=1, kinds=[kind]):
        told = f"{kind} {outcome.number}: {outcome.case}\n{outcome.output[-2000:]}"
        assert outcome.verdict not in harness.FAULTS, told


def test_good_files_are_accepted(good):
    (good.folder / "case").mkdir(exist_ok=True)
    cases = [
        harness.Case("average", [str(good.checkpoint), "--output", "mean.pt"]),
        harness.Case("inspect", [str(good.checkpoint)]),
        harness.Case(
            "evaluate",
            [str(good.checkpoint), "--data", str(good.prepared), "--subset", "test", "--cpu"],
        ),
        harness.Case(
            "translate",
            [str(good.model_folder), "--cpu", "--input", str(good.folder / "input.txt")],
        ),
        harness.Case("experiment", [str(good.folder), "odd"]),
        harness.Case("vectors", [str(good.folder / "words.vec")]),
        harness.Case("movement", [str(good.folder)]),
    ]
    for case in cases:
        status, output = harness._run(case, good.folder / "case")
        assert status == 0, f"{case}\n{output[-2000:]}"

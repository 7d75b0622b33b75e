"""python -m scripts.model_size, the real command line."""

import json
import subprocess
import sys

import pytest

from scripts.lab.run.specs import ROOT


def model_size(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "scripts.model_size", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("sizes", "millions"),
    [
        ((87_000, 92_000, 94_000), (167.9, 121.9, 79.4)),
        ((83_000, 91_000, 94_000), (164.9, 119.4, 79.4)),
    ],
)
def test_sizes_of_the_paper(sizes, millions):
    source, target, joint = map(str, sizes)
    found = model_size("--source", source, "--target", target, "--joint", joint, "--json")
    totals = json.loads(found.stdout)
    assert list(totals) == ["none", "decoder", "three-way"]
    for tying, expected in zip(totals, millions, strict=True):
        assert totals[tying]["total"] == pytest.approx(expected * 1e6, rel=0.005)


def test_impossible_size_is_one_line():
    found = model_size("--source", "2", "--target", "9", "--joint", "9")
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1].startswith("error: --source 2")
    assert "Traceback" not in found.stderr

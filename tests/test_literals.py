"""Strings that fairseq would ``eval``: literals say what Python says, nothing else is run."""

from __future__ import annotations

import pytest

from tiednmt.errors import UserError
from tiednmt.literals import value_of

SAID = {
    "(0.9, 0.98)": (0.9, 0.98),
    "[(512, 3)] * 2": [(512, 3), (512, 3)],
    "[(512, 10, 5)] + [(512, 3, 2)] * 2": [(512, 10, 5), (512, 3, 2), (512, 3, 2)],
    "1e-4": 0.0001,
    "-2.5": -2.5,
    "0.5,0.25": (0.5, 0.25),
    "False": False,
    "{'beam': 4}": {"beam": 4},
    " [1] ": [1],
    "512 * 4 / 2": 1024.0,
}


@pytest.mark.parametrize("text", SAID)
def test_literals(text):
    assert value_of(text) == SAID[text]


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir('RAN')",
        "[().__class__]",
        "print",
        "[1 for _ in range(3)]",
        "(lambda: 1)()",
        "[0] * 10**12",
        "[[0] * 9999] * 9999999",
        "'a' * 1000000000",
        "10**18 * 10**18 * 10**18",
        "1 / 0",
        "f'{1}'",
        "[",
        "(" * 5000,
        "",
    ],
)
def test_everything_else_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        value_of(text)
    assert not any(tmp_path.iterdir())


def test_what_is_no_text_is_refused_as_eval_does():
    with pytest.raises(TypeError):
        value_of(True)

"""Each change of fairseq is made once, however often it is called for."""

from __future__ import annotations

import inspect
import sys

import numpy
import pytest
import torch

import tiednmt.plugin  # noqa: F401
from tiednmt import errors, patches


def what_there_is():
    """All that fairseq's modules and classes have, by name, and the rest that is changed."""
    there = {}
    for module, of in list(sys.modules.items()):
        if module.startswith("fairseq"):
            for name, value in list(vars(of).items()):
                there[module, name] = value
                if inspect.isclass(value) and value.__module__.startswith("fairseq"):
                    there |= {(module, name, own): v for own, v in vars(value).items()}
    return {
        **{name: id(value) for name, value in there.items()},
        "numpy": id(numpy.compat),
        "torch": set(torch.serialization.get_safe_globals()),
        "hook": id(sys.excepthook),
    }


@pytest.mark.parametrize(
    "change", [*patches.PATCHES, errors.explain_uncaught_errors], ids=lambda each: each.__name__
)
def test_each_may_be_applied_any_number_of_times(change, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # what a test leaves is restored
    change()
    once = what_there_is()
    assert len(once) > 10_000
    change()
    assert what_there_is() == once


def public_functions(module):
    of = vars(sys.modules[module]).items()
    own = {name: f for name, f in of if inspect.isfunction(f) and f.__module__ == module}
    return {function for name, function in own.items() if not name.startswith("_")}


def test_none_is_forgotten():
    modules = [name for name in sys.modules if name.startswith("tiednmt.patches.")]
    changes = set().union(*map(public_functions, modules))
    assert len(modules) > 6
    assert {f for f in changes if not inspect.signature(f).parameters} == set(patches.PATCHES)

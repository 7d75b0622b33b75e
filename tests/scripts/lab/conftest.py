"""The lab's child processes as forks of one that has loaded torch and fairseq."""

from __future__ import annotations

import sys

import pytest

from scripts.lab.run import processes
from tests.support.commandline import Forks


@pytest.fixture(scope="module")
def forks():
    """For experiments that start many commands, each of which would import for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.platform == "linux":
            patch.setattr(processes, "subprocess", Forks)
        yield

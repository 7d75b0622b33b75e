"""Tests of what a GPU computes: skipped without one, but in a rehearsal (scripts/gpu.sh)."""

import os

import pytest
import torch

from scripts.lab.gpu import REHEARSAL


def pytest_collection_modifyitems(items):
    skip = pytest.mark.skip(reason="needs a GPU, or TIEDNMT_REHEARSE=1")
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available() and REHEARSAL not in os.environ:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")

"""Fixtures of the modules' tests."""

import pytest

from tests.kernel_paths import use_cpu_kernels, use_plain_torch


@pytest.fixture(params=["torch", "compiled"])
def cpu_path(request, monkeypatch):
    """Plain torch, and the compiled kernels of a CPU."""
    if request.param == "torch":
        use_plain_torch(monkeypatch)
    else:
        use_cpu_kernels()
    return request.param

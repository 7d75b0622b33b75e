"""The kernels of a GPU, on one or on a machine without."""

import os

import pytest
import torch

from tiednmt.modules import attention, gru

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # in NumPy; Triton reads it when it is imported


def use_kernels(monkeypatch):
    """Let steps run as kernels, whatever the device."""
    pytest.importorskip("triton")
    from tiednmt.modules import kernels

    _use(monkeypatch, kernels)


def use_plain_steps(monkeypatch):
    """Let no step run as a kernel."""
    _use(monkeypatch, None)


def _use(monkeypatch, kernels):
    for module in (attention, gru):
        monkeypatch.setattr(module, "kernels_for", lambda _: kernels)

"""The ways a module can compute: plain torch, the compiled kernels of a CPU, those of a GPU."""

import os

import pytest
import torch

from tiednmt import kernels
from tiednmt.modules import additive_attention, gru, lstm

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # in NumPy; Triton reads it when it is imported


def use_plain_torch(monkeypatch):
    """Let nothing run as a kernel."""
    monkeypatch.setattr(kernels, "_cpu_kernels", lambda: None)
    _use_for_steps(monkeypatch, None)


def use_cpu_kernels():
    """Let what can be compiled run compiled, as it does on a CPU anyway."""
    return pytest.importorskip("tiednmt.kernels.cpu", exc_type=ImportError)


def use_gpu_kernels(monkeypatch):
    """Let steps run as a GPU's kernels: there, or as Triton's interpreter runs them."""
    pytest.importorskip("triton")
    from tiednmt.kernels import gpu

    _use_for_steps(monkeypatch, gpu)


def _use_for_steps(monkeypatch, found):
    for module in (additive_attention, gru, lstm):
        monkeypatch.setattr(module, "kernels_for", lambda _: found)

"""fairseq's checkpoints under ``torch.load(weights_only=True)``, the default since torch 2.6.

fairseq calls ``torch.load`` without saying; the check stays on, and only the harmless types that
its checkpoints hold are let in.
"""

from __future__ import annotations

import argparse

import torch


def allow_fairseq_types() -> None:
    """Let the types in that stand in fairseq's checkpoints beside tensors and plain containers."""
    torch.serialization.add_safe_globals([argparse.Namespace])

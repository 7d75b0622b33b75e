"""fairseq's checkpoints under ``torch.load(weights_only=True)``, the default since torch 2.6.

fairseq calls ``torch.load`` without saying; the check stays on, and only the harmless types that
its checkpoints hold are let in.
"""

from __future__ import annotations

import argparse

import numpy
import torch


def allow_fairseq_types() -> None:
    """Let the types in that stand in fairseq's checkpoints beside tensors and plain containers.

    The arrays of numbers are what ``--eval-bleu`` leaves in the meters.
    """
    rebuild = [numpy.empty(0).__reduce__()[0], numpy.float64(0).__reduce__()[0]]
    numbers = [type(numpy.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]
    torch.serialization.add_safe_globals(
        [argparse.Namespace, numpy.ndarray, numpy.dtype, *numbers, *rebuild]
    )

"""Threads and processes of fairseq's: they work together on CPUs, and they end."""

from __future__ import annotations

import subprocess
import sys

STOPPED_WITHIN_AN_EPOCH = """
import torch
from fairseq.data.iterators import BufferedIterator
import tiednmt.plugin

class Batches:
    def __len__(self):
        return 1000
    def __iter__(self):
        while True:
            yield torch.zeros(2, 1000, 1000).cumsum(0)

next(BufferedIterator(3, Batches()))
"""


def test_a_process_ends_well_while_batches_are_loaded_ahead():
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_WITHIN_AN_EPOCH], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, "terminate called" in done.stderr) == (0, False)

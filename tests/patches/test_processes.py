"""Threads and processes of fairseq's: they work together on CPUs, and they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fairseq.distributed import utils as distributed_utils
from omegaconf import OmegaConf

import tiednmt.plugin  # noqa: F401

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


def threads_of_gloo():
    paths = Path("/proc/self/task").glob("*/comm")
    return {path.parent.name for path in paths if "gloo" in path.read_text()}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="/proc is Linux's")
def test_workers_leave_no_thread_of_gloo_behind(tmp_path):
    """So that none is at work while Python ends; and the process may train again."""
    before = threads_of_gloo()  # of tests in this process that form groups themselves
    seen = []

    def main(cfg):
        group = distributed_utils.get_global_group()
        torch.distributed.all_reduce(torch.ones(3), group=group)
        seen.append(threads_of_gloo() - before)

    for number in range(2):
        cfg = {"distributed_init_method": f"file://{tmp_path}/{number}", "distributed_rank": 0}
        cfg |= {"distributed_world_size": 1, "distributed_backend": "gloo", "device_id": 0}
        parts = {"common": {"tpu": False, "cpu": True, "model_parallel_size": 1}}
        parts["distributed_training"] = {**cfg, "distributed_no_spawn": True}
        distributed_utils.distributed_main(0, main, OmegaConf.create(parts), {})
        assert not torch.distributed.is_initialized()
        assert threads_of_gloo() <= before
    assert all(seen)

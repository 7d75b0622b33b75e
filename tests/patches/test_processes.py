"""Threads and processes of fairseq's: they work together on CPUs, and they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.trainer import Trainer
from omegaconf import OmegaConf

import tiednmt.plugin  # noqa: F401
from tests.support.small_training import train

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


def test_a_worker_that_runs_out_of_batches_within_an_update_counts_those_it_had(
    data, tmp_path, monkeypatch
):
    """fairseq gives it an empty one, and then takes the whole of its part for nothing."""
    parts = {"optimization": {"max_update": 2}, "common": {"log_interval": 1}}
    whole = train(data, tmp_path / "whole", **parts)
    step = Trainer.train_step
    monkeypatch.setattr(
        Trainer, "train_step", lambda self, samples, **more: step(self, [*samples, {}], **more)
    )
    filled = train(data, tmp_path / "filled", **parts)
    one, other = (torch.load(path)["model"] for path in (whole, filled))
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight, atol=0, rtol=0)

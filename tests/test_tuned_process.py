"""Memory: freed one is kept for the next tensor, and kernels of shapes gone by are not kept."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
if "keep" in sys.argv:
    from tiednmt.tuned_process import keep_freed_memory
    keep_freed_memory()
def update():
    kept = [torch.ones(2**22) for _ in range(8)]  # 16 MB each
for _ in range(8):
    update()  # until the heap has its shape
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    update()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*arguments):
    command = [sys.executable, "-c", PROGRAM, *arguments]
    # glibc's default, said so that it does not move on its own, which it does by chance
    fixed = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**17)}
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=fixed)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_updates_after_the_first_find_their_memory():
    assert page_faults("keep") < page_faults() / 10


TRAINING = """
import random, torch
from tests.support.small_models import batch, model
from tiednmt.tuned_process import tune_process
built = model(
    dtype=torch.float32, dropout=0.1,
    embed_dim=64, encoder_hidden_size=64, decoder_hidden_size=64, attention_size=64,
).train()
tune_process()
optimizer = torch.optim.Adam(built.parameters())
random.seed(1)
for update in range(1, 101):
    lengths = [random.randint(1, 30) for _ in range(random.randint(20, 30))]
    inputs, target = batch(lengths, lengths[::-1])
    features, _ = built(**inputs, features_only=True)
    loss = built.output_layer.loss(features.flatten(0, 1), target.flatten(), padding_idx=1).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if update in (20, 100):
        print(open("/proc/self/statm").read().split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_memory_does_not_grow_over_80_updates():
    """A tenth of an update's tensors left behind each time would be 40 MB."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINING], capture_output=True, check=True, text=True
    )
    after_20, after_100 = (int(pages) * 4096 for pages in done.stdout.split())
    assert after_100 - after_20 < 20e6


DECODING = """
import torch
from omegaconf import OmegaConf
from tests.support.small_models import model
from tiednmt.modules.frozen_linear import PackedLinear
from tiednmt.tuned_process import tune_process
built = model(dtype=torch.float32)
built.prepare_for_inference_(OmegaConf.create({"generation": {"no_beamable_mm": True}}))
tune_process()  # as where a search is built
layer = PackedLinear(torch.ones(96, 80))
for rows in range(1, 601):
    layer(torch.ones(rows, 80))
    if rows in (200, 600):
        print(open("/proc/self/statm").read().split()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_memory_does_not_grow_over_400_shapes_of_decoding():
    """oneDNN keeps the kernels of 1,024 shapes by default."""
    done = subprocess.run(
        [sys.executable, "-c", DECODING], capture_output=True, check=True, text=True
    )
    after_200, after_600 = (int(pages) * 4096 for pages in done.stdout.split())
    assert after_600 - after_200 < 50e6  # 250 MB else

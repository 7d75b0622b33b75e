"""Freed memory is kept for the next tensor: counted in pages that the system had to hand out."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
if "keep" in sys.argv:
    from tiednmt.memory import keep_freed_memory
    keep_freed_memory()
def update():
    kept = [torch.ones(2**22) for _ in range(8)]  # 16 MB each
update()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    update()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*arguments):
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_updates_after_the_first_find_their_memory():
    assert page_faults("keep") < page_faults() / 10

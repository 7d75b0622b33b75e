"""What becomes of checkpoints when something goes wrong in writing them."""

from __future__ import annotations

import resource
import signal

import pytest
from fairseq.file_io import PathManager

import tiednmt.plugin  # noqa: F401


def test_a_copy_that_fails_leaves_the_checkpoint_before_it(tmp_path):
    old, new = tmp_path / "checkpoint_last.pt", tmp_path / "checkpoint_1_2.pt"
    old.write_bytes(b"old")
    new.write_bytes(bytes(100_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # as on a full disk
        with pytest.raises(OSError, match="File too large"):
            PathManager.copy(str(new), str(old), overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert old.read_bytes() == b"old"
    assert set(tmp_path.iterdir()) == {old, new}
    assert PathManager.copy(str(new), str(old), overwrite=True)
    assert old.read_bytes() == new.read_bytes()

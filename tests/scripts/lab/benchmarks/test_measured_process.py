"""What a process of a benchmark held at most."""

from __future__ import annotations

import sys

import pytest
import torch

from scripts.lab.benchmarks.measured_process import run_module


@pytest.mark.skipif(sys.platform != "linux", reason="told by Linux alone")
@pytest.mark.skipif(torch.cuda.is_available(), reason="measured without a GPU")
def test_memory_is_the_most_that_a_module_held(tmp_path, monkeypatch):
    # it lives on for a moment, in which the mark that its memory left can be read
    code = "import time\nheld = bytearray(b'1' * 100_000_000)\ndel held\n"
    code += "print('the end', flush=True)\ntime.sleep(1)\n"
    (tmp_path / "holds_much.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    lines = []
    peak = run_module(["holds_much"], 1, tmp_path / "log", on_line=lines.append)
    assert lines == ["the end\n"]
    assert 1e8 < peak < 3e8

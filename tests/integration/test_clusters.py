"""The command lines of docs/gpu.md for many workers, as far as a CPU goes."""

from __future__ import annotations

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from fairseq.distributed import utils as distributed_utils

from tests.support.commandline import ENVIRONMENT, ROOT, SCRIPTS, TRAIN, train

PAGE = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")


def torchrun(workers, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(workers)]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{SCRIPTS}:{environment['PATH']}"
    done = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.nightly  # 20 seconds, for most of which three processes start
def test_torchrun_on_a_cpu(data_bin, tmp_path):
    (line,) = re.findall(
        r"torchrun --nproc-per-node 2 --no-python bash -c '(.*?)'", PAGE, re.DOTALL
    )
    options = ["--tying", "three-way", "--dropout", 0, "--batch-size", 8, "--max-update", 3]
    given = " ".join(map(str, [*TRAIN, "--save-dir", tmp_path / "two", *options]))
    line = line.replace("data-bin --user-dir tiednmt --cpu …", f"{data_bin} {given}")
    torchrun(2, "--no-python", "bash", "-c", line)
    train(data_bin, tmp_path / "one", *options, "--update-freq", 2).check()
    one, two = (
        torch.load(tmp_path / name / "checkpoint_last.pt", map_location="cpu")["model"]
        for name in ("one", "two")
    )
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.nightly  # a minute, for most of which five processes start
def test_sharded_training_does_not_depend_on_the_number_of_processes(tmp_path):
    program = "examples/sharded_training.py"
    outputs = {n: torchrun(n, program, tmp_path / str(n)) for n in (1, 4)}
    losses = [float(re.search(r"^loss ([\d.]+)", text, re.M)[1]) for text in outputs.values()]
    assert losses[0] < 1
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    for text in outputs.values():
        assert "source input embedding = target input embedding = output embedding" in text
    # of the two layers, and of all that belongs to the model, the tied matrix among it
    assert re.search(r"_reduce_scatter\w*': 3\b", outputs[4])


def test_slurm_gives_every_process_its_rank_and_its_gpu(tmp_path, monkeypatch):
    words = re.search(r"^srun .*\n.*$", PAGE, re.MULTILINE)[0]
    nodes, tasks, workers, port = (
        int(re.search(rf"--{name} (\d+)", words)[1])
        for name in ("nodes", "ntasks-per-node", "distributed-world-size", "distributed-port")
    )
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho first\necho second\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    variables = {
        "SLURM_JOB_NODELIST": "both",
        "SLURM_NNODES": nodes,
        "SLURM_NTASKS_PER_NODE": tasks,
    }
    for name in ("SLURM_STEP_NODELIST", "MASTER_ADDR", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for process in range(nodes * tasks):
        of_process = {"SLURM_PROCID": process, "SLURM_LOCALID": process % tasks}
        for name, value in {**variables, **of_process}.items():
            monkeypatch.setenv(name, str(value))
        cfg = SimpleNamespace(
            distributed_init_method=None,
            tpu=False,
            pipeline_model_parallel=False,
            distributed_world_size=workers,
            distributed_port=port,
            distributed_rank=0,
            distributed_no_spawn=False,
            device_id=0,
        )
        distributed_utils.infer_init_method(cfg)
        assert cfg.distributed_init_method == f"tcp://first:{port}"
        assert (cfg.distributed_rank, cfg.device_id) == (process, process % tasks)
        assert cfg.distributed_no_spawn

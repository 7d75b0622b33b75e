"""Decoding shared out among processes: the same hypotheses, and no process left behind."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator
from omegaconf import OmegaConf

from tests.support.searches import assert_same, hypotheses, sentences
from tests.support.small_models import JOINT, model
from tiednmt.errors import UserError
from tiednmt.modules.frozen_linear import Int8Linear
from tiednmt.search.workers import Workers
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")

GENERATION = OmegaConf.create({"generation": {"no_beamable_mm": True}})


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def prepared():
    built = model(dtype=torch.float32, dropout=0.1).eval()
    built.prepare_for_inference_(GENERATION)
    return built


@pytest.mark.parametrize("count", [1, 2, 3, 11])
def test_hypotheses_are_fairseqs(prepared, count):
    sample, options = sentences(count, 6), {"beam_size": 4, "max_len_b": 15}
    assert_same(
        hypotheses(TiedSequenceGenerator, prepared, sample, **options),
        hypotheses(SequenceGenerator, prepared, sample, **options),
    )


def test_processes_serve_batch_after_batch(prepared):
    generator = TiedSequenceGenerator([prepared], JOINT, beam_size=3, max_len_b=9)
    for count in (4, 2, 7):
        sample = sentences(count, 5)
        expected = hypotheses(SequenceGenerator, prepared, sample, beam_size=3, max_len_b=9)
        assert_same(generator.generate([prepared], sample), expected)


def test_a_model_still_in_training_is_translated_with_as_it_is():
    """The BLEU of validations (--eval-bleu) uses one generator while the weights change."""
    built = model(dtype=torch.float32).eval()
    options = {"beam_size": 3, "max_len_b": 9}
    generator, sample = TiedSequenceGenerator([built], JOINT, **options), sentences(5, 5)
    before = generator.generate([built], sample)
    with torch.no_grad():
        built.output_layer.bias[7] += 5
    after = generator.generate([built], sample)
    assert_same(after, hypotheses(SequenceGenerator, built, sample, **options))
    assert before[0][0]["score"] != after[0][0]["score"]


def test_a_model_that_is_rounded_between_two_batches(prepared):
    """Also back again: the processes hold the copies of weights that they began with."""
    generator, sample = TiedSequenceGenerator([prepared], JOINT, beam_size=3), sentences(5, 5)
    for kind in (Int8Linear, None):
        generator.generate([prepared], sample)
        prepared.freeze_for_decoding(kind)
        fresh = TiedSequenceGenerator([prepared], JOINT, beam_size=3).generate([prepared], sample)
        assert_same(generator.generate([prepared], sample), fresh)


def test_a_generator_whose_options_change_between_two_batches(prepared):
    options, sample = {"beam_size": 4, "max_len_b": 9}, sentences(5, 6)
    generator = TiedSequenceGenerator([prepared], JOINT, **options)
    before = generator.generate([prepared], sample)
    changes = {"len_penalty": 0.0, "min_len": 4, "unk_penalty": 3.0, "beam_size": 3}
    for name, value in changes.items():
        setattr(generator, name, value)
    after = generator.generate([prepared], sample)
    assert after[0][0]["score"] != before[0][0]["score"]
    expected = hypotheses(SequenceGenerator, prepared, sample, **options | changes)
    assert_same(after, expected)


def test_a_model_that_gains_a_layer_between_two_batches(prepared):
    """As adapters add them, in the place of what there was."""
    generator, sample = TiedSequenceGenerator([prepared], JOINT, beam_size=3), sentences(5, 5)
    generator.generate([prepared], sample)
    layer = torch.nn.Linear(5, 5)
    prepared.decoder.register_module("adapter", layer)
    generator.generate([prepared], sample)


@pytest.mark.parametrize("change", [torch.nn.Module.double, torch.nn.Module.bfloat16])
def test_a_prepared_model_may_still_be_moved_or_converted(prepared, change):
    """fairseq's hub interface prepares first; .cuda() and .half() come after."""
    never_prepared = change(model(dtype=torch.float32).eval())
    sample, options = sentences(3, 5), {"beam_size": 3, "max_len_b": 9}
    assert_same(
        hypotheses(TiedSequenceGenerator, change(prepared), sample, **options),
        hypotheses(TiedSequenceGenerator, never_prepared, sample, **options),
    )


def test_a_process_that_may_have_no_children_searches_alone(prepared, monkeypatch):
    """Those of a ``multiprocessing.Pool`` are such."""
    sample, options = sentences(5, 5), {"beam_size": 3, "max_len_b": 9}
    expected = hypotheses(TiedSequenceGenerator, prepared, sample, **options)
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    assert_same(hypotheses(TiedSequenceGenerator, prepared, sample, **options), expected)


def test_an_error_in_a_process_is_the_callers():
    with pytest.raises(ZeroDivisionError):
        Workers(lambda number: 1 / number, 2).map([(1,), (0,)])


def test_a_killed_process_is_named():
    workers = Workers(lambda: os.kill(os.getpid(), signal.SIGKILL), 2)
    with pytest.raises(UserError, match=r"a process that decodes was killed.*OMP_NUM_THREADS=1"):
        workers.map([(), ()])


def test_a_search_after_one_whose_process_was_killed(prepared):
    """As the message advises: with smaller batches."""
    generator, sample = TiedSequenceGenerator([prepared], JOINT, beam_size=3), sentences(5, 5)
    others = {*multiprocessing.active_children()}
    expected = generator.generate([prepared], sample)
    own, *_ = {*multiprocessing.active_children()} - others
    os.kill(own.pid, signal.SIGKILL)
    with pytest.raises(UserError, match="was killed"):
        generator.generate([prepared], sample)
    assert_same(generator.generate([prepared], sample), expected)


def test_a_fork_of_a_process_that_has_searched(prepared):
    """As servers fork that have loaded a model and tried it: its processes answer the parent."""
    generator, sample = TiedSequenceGenerator([prepared], JOINT, beam_size=3), sentences(5, 5)
    expected = generator.generate([prepared], sample)
    fork = os.fork()
    if not fork:
        with contextlib.suppress(BaseException):
            assert_same(generator.generate([prepared], sample), expected)
            os._exit(0)
        os._exit(1)
    deadline = time.monotonic() + 30
    while not (ended := os.waitpid(fork, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.05)
    if not ended[0]:
        os.kill(fork, signal.SIGKILL)
        os.waitpid(fork, 0)
    assert ended == (fork, 0)
    assert_same(generator.generate([prepared], sample), expected)


def test_processes_end_with_the_one_that_made_them(tmp_path: Path):
    told = tmp_path / "processes"
    program = f"""
import os, pathlib, signal, time
from tiednmt.modules.frozen_linear import Int8Linear
from tiednmt.search.workers import Workers
def work():
    time.sleep(0.2)
    return os.getpid()
found = Workers(work, 2).map([(), (), (), ()])
pathlib.Path({str(told)!r}).write_text(" ".join(map(str, set(found))))
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    processes = told.read_text().split()
    assert len(processes) == 2
    deadline = time.monotonic() + 20
    while any(_runs(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(process) for process in processes)


def _runs(process: str) -> bool:
    status = Path("/proc", process, "status")
    return status.exists() and "State:\tZ" not in status.read_text()

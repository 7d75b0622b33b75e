"""Commands side by side: how many at a time, on what, and what becomes of them."""

import errno
import sys
import time
from functools import partial

import pytest

from scripts.lab.run import processes
from scripts.lab.run.processes import Child, shared_among, side_by_side
from tiednmt.errors import UserError


def python(code, log, place):
    return Child("a step", [sys.executable, "-c", code], log, place)


def test_one_at_a_time(tmp_path):
    diary = tmp_path / "diary"
    code = (
        f"import time; write = lambda word: open({str(diary)!r}, 'a').write(word + ' '); "
        "write('came'); time.sleep(0.2); write('went')"
    )
    side_by_side([partial(python, code, tmp_path / f"{i}.log") for i in range(3)], 1)
    assert diary.read_text().split() == ["came", "went"] * 3


def test_two_at_a_time(tmp_path):
    """Each of the first two ends well only once the other is there too."""
    code = """if True:
        import pathlib, sys, time
        folder = pathlib.Path(sys.argv[1])
        (folder / sys.argv[2]).touch()
        deadline = time.monotonic() + 60
        while len(list(folder.iterdir())) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    """

    def start(name, place):
        command = [sys.executable, "-c", code, str(tmp_path / "meeting"), name]
        return Child("meeting", command, tmp_path / f"{name}.log", place)

    (tmp_path / "meeting").mkdir()
    side_by_side([partial(start, name) for name in "abc"], 2)
    assert {path.name for path in (tmp_path / "meeting").iterdir()} == set("abc")


def test_the_end_of_a_log_that_is_no_utf_8_is_shown(tmp_path):
    code = r"import sys; sys.stdout.buffer.write(b'caf\xe9\n'); sys.exit('no good')"
    with pytest.raises(
        UserError, match=r"(?s)a step failed; .*caf\N{REPLACEMENT CHARACTER}.*no good"
    ):
        side_by_side([partial(python, code, tmp_path / "log")], 1)


def test_a_failure_is_shown_at_once_and_the_others_go_on(tmp_path, capsys):
    """One of them begins after it, in its place."""
    done = f"open({str(tmp_path / 'done')!r}, 'a').write('.')"
    codes = [f"import time; time.sleep(2); {done}", "raise SystemExit('no good')", done]
    steps = [partial(python, code, tmp_path / f"{i}.log") for i, code in enumerate(codes)]
    with pytest.raises(UserError, match=r"(?s)^a step failed; the end of .*1.log:\n  no good\n$"):
        side_by_side(steps, 2)
    assert (tmp_path / "done").read_text() == ".."
    shown = capsys.readouterr().err
    assert "no good" in shown and "The others go on." in shown


def test_all_failures_are_named(tmp_path):
    codes = ["raise SystemExit('not this')", "raise SystemExit('nor that')"]
    steps = [partial(python, code, tmp_path / f"{i}.log") for i, code in enumerate(codes)]
    with pytest.raises(UserError, match=r"(?s)0.log:.*not this.*1.log:.*nor that"):
        side_by_side(steps, 1)


def test_of_an_earlier_start_nothing_is_shown(tmp_path):
    log = tmp_path / "log"
    side_by_side([partial(python, "print('all is well')", log)], 1)
    with pytest.raises(UserError) as failure:
        side_by_side([partial(python, "raise SystemExit('no good')", log)], 1)
    assert "no good" in str(failure.value) and "all is well" not in str(failure.value)


def test_an_interruption_stops_those_that_run(tmp_path):
    children = []

    class Interrupted(Child):
        def show_progress(self):
            raise KeyboardInterrupt

    def start(kind, name, place):
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        children.append(kind("a step", command, tmp_path / name, place))
        return children[-1]

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        side_by_side([partial(start, Child, "one"), partial(start, Interrupted, "other")], 2)
    assert time.monotonic() - began < 30
    assert all(child.process.poll() is not None for child in children)


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(processes.fcntl, "flock", unsupported)
    side_by_side([partial(python, "print('done')", tmp_path / "log")], 1)
    assert (tmp_path / "log").read_text() == "done\n"


def test_what_cannot_begin_leaves_no_process(tmp_path):
    """Its log is free for another start, and the others go on."""

    class Full(Child):
        def before_start(self):
            raise UserError("no space left")

    def full(place):
        return Full("a step", ["touch", str(tmp_path / "started")], tmp_path / "log", place)

    then = partial(python, f"open({str(tmp_path / 'done')!r}, 'w')", tmp_path / "log")
    with pytest.raises(UserError, match=r"^no space left$"):
        side_by_side([full, then], 1)
    assert (tmp_path / "done").exists() and not (tmp_path / "started").exists()


def test_more_jobs_than_there_is_memory_for(tmp_path):
    side_by_side([partial(python, "", tmp_path / "log")], 10**18)


def test_output_goes_to_the_end_of_the_log(tmp_path):
    log = tmp_path / "folder" / "log"
    for word in ("one", "two"):
        side_by_side([partial(python, f"print({word!r})", log)], 1)
    assert log.read_text() == "one\ntwo\n"


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: 8)
    monkeypatch.setattr(processes, "gpus", list)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [(place.threads, place.gpu) for place in shared_among(3)] == [(2, None)] * 3
    assert shared_among(20)[0].threads == 1
    assert shared_among(2)[0].environment["OMP_NUM_THREADS"] == "4"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert [shared_among(jobs)[0].threads for jobs in (1, 2, 4)] == [3, 3, 2]


def test_each_process_has_one_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [place.gpu for place in shared_among(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [place.gpu for place in shared_among(2)] == ["3", "5"]
    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    logs = [tmp_path / str(i) for i in range(2)]
    side_by_side([partial(python, code, log) for log in logs], 2)
    assert [log.read_text().strip() for log in logs] == ["3", "5"]


def test_no_gpu_no_word_of_it(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "CUDA_VISIBLE_DEVICES" not in shared_among(1)[0].environment

"""The parts of what is proved on a GPU: done once, cut off in time, failures shown."""

import json

import pytest

from scripts.lab import gpu
from scripts.lab.gpu import Session, Step, run_part

GOOD, BAD, ENDLESS = ("platform",), ("json.tool", "no-such-file"), ("http.server", "0")


@pytest.fixture
def part(monkeypatch, tmp_path):
    """Runs a part of the given commands, named by letters."""

    def run(*commands, minutes=1.0, rehearsed=False):
        steps = [Step(name, command, 0) for name, command in zip("abc", commands, strict=False)]
        monkeypatch.setitem(gpu.PARTS, "check", lambda _: iter(steps))
        status = run_part("check", tmp_path, None, minutes, rehearsed)
        folder = tmp_path / "rehearsal" if rehearsed else tmp_path
        return status, json.loads((folder / "check.json").read_text())["steps"]

    return run


def test_what_is_done_is_not_done_again(part, tmp_path):
    assert part(GOOD) == (0, {"a": "done"})
    log = (tmp_path / "logs" / "a.log").read_text()
    assert part(GOOD, GOOD) == (0, {"a": "done", "b": "done"})
    assert (tmp_path / "logs" / "a.log").read_text() == log


def test_what_was_rehearsed_is_not_done(part, tmp_path):
    log = tmp_path / "logs" / "a.log"
    assert part(GOOD, rehearsed=True) == (0, {"a": "done"})
    assert not log.exists()
    assert part(GOOD) == (0, {"a": "done"})
    done = log.read_text()
    assert part(GOOD, rehearsed=True) == part(GOOD) == (0, {"a": "done"})
    assert log.read_text() == done


def test_another_command_of_the_same_name_is_run(part, tmp_path):
    assert part(GOOD) == (0, {"a": "done"})
    assert part((*GOOD, "--terse"))[0] == 0
    assert len((tmp_path / "logs" / "a.log").read_text().splitlines()) == 2
    assert part(BAD) == (1, {"a": "failed"})


def test_a_failure_is_shown_and_tried_again(part, capfd):
    assert part(BAD, GOOD) == (1, {"a": "failed", "b": "done"})
    assert "no-such-file" in capfd.readouterr().out
    assert part(GOOD, GOOD) == (0, {"a": "done", "b": "done"})


def test_what_takes_too_long_is_cut_off_and_the_rest_is_left(part):
    assert part(GOOD, ENDLESS, GOOD, minutes=0.03) == (3, {"a": "done", "b": "cut off"})


def test_a_command_that_does_not_fit_is_not_begun(monkeypatch, tmp_path):
    monkeypatch.setitem(gpu.PARTS, "check", lambda _: iter([Step("a", GOOD, minutes=5)]))
    assert run_part("check", tmp_path, None, 4, rehearsed=False) == 3
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("name", gpu.PARTS)
@pytest.mark.parametrize("rehearsed", [True, False])
def test_names_of_commands_are_their_own(tmp_path, name, rehearsed):
    steps = [*gpu.PARTS[name](Session(tmp_path, tmp_path / "raw", rehearsed))]
    assert len({step.name for step in steps}) == len(steps) > 0
    assert all(str(tmp_path) in " ".join(step.command) for step in steps)


def test_a_machine_without_a_gpu_lacks_it(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu.lacking(rehearsed=True) == []
    assert any("GPU" in what for what in gpu.lacking(rehearsed=False))

"""A prepared folder is what it says: its records reach nothing outside, one command fills it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from preprocess.stages import Stage, Stages, claim, corpus_key, one_writer
from tiednmt.errors import UserError


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "folder"


def copying(folder, *names, fails=False):
    """A stage that copies the source, and perhaps fails half way."""
    source = folder.parent / "source"
    outputs = [folder / name for name in names]

    def action():
        for output in outputs:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(source.read_text())
            if fails:
                raise UserError("half way")
        return len(outputs)

    return Stage("copy", action, [source], outputs)


def done(folder, *names):
    (folder.parent / "source").write_text("first\n")
    stages = Stages(folder, "toy")
    stages.run(copying(folder, *names))
    (folder / "manifest.json").write_text("{}\n")
    return folder / ".stages" / "copy.json"


def test_a_record_removes_nothing_outside_of_its_folder(folder, tmp_path):
    record = done(folder, "a")
    (tmp_path / "elsewhere").mkdir()
    victims = [tmp_path / "victim", tmp_path / "elsewhere" / "victim"]
    for victim in victims:
        victim.write_text("kept\n")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    content = json.loads(record.read_text())
    for name in ("../victim", str(victims[0]), "link/victim"):
        content["outputs"][name] = [5, 0, "x"]
    record.write_text(json.dumps(content))
    Stages(folder).run(copying(folder, "b"))
    assert [victim.read_text() for victim in victims] == ["kept\n"] * 2
    assert not (folder / "a").exists() and (folder / "b").exists()


DAMAGES = {
    "no object": lambda record: [],
    "no inputs": lambda record: record.pop("inputs") and None,
    "outputs in a list": lambda record: record.update(outputs=["a"]),
    "a stamp cut short": lambda record: record["outputs"].update(a=[1]),
    "a size in words": lambda record: record["outputs"].update(a=["many", 1, "x"]),
    "options in a list": lambda record: record.update(options=[]),
    "no result": lambda record: record.pop("result") and None,
    "another format": lambda record: record.update(format=99),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_as_none(damage, folder):
    record = done(folder, "a")
    content = json.loads(record.read_text())
    changed = DAMAGES[damage](content)
    record.write_text(json.dumps(content if changed is None else changed))
    assert Stages(folder).run(copying(folder, "a")) == 1
    assert (folder / "a").read_text() == "first\n"


def test_a_stage_that_fails_and_changes_nothing_leaves_the_folder_as_it_was(folder):
    done(folder, "a")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    source = folder.parent / "source"
    source.write_text("bad\n")

    def fails():
        raise UserError("bad text")

    with pytest.raises(UserError):
        Stages(folder).run(Stage("copy", fails, [source], [folder / "a"]))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_stage_that_fails_half_way_takes_the_manifest_along(folder):
    done(folder, "a", "b")
    (folder.parent / "source").write_text("second\n")
    with pytest.raises(UserError):
        Stages(folder).run(copying(folder, "a", "b", fails=True))
    assert not (folder / "manifest.json").exists()
    assert Stages(folder).run(copying(folder, "a", "b")) == 2
    assert (folder / "b").read_text() == "second\n"


def test_another_corpus_is_refused(folder):
    done(folder, "a")
    claim(folder, "toy")
    with pytest.raises(UserError, match="holds toy, not other"):
        Stages(folder, "other")
    assert (folder / "manifest.json").exists() and (folder / "a").exists()


def test_a_folder_of_before_is_known_by_its_manifest(folder):
    done(folder, "a")
    (folder / ".stages" / "corpus").unlink()
    manifest = {"corpus": "multi30k", "source": "en", "target": "de"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="multi30k en-de"):
        claim(folder, corpus_key("multi30k", "de", "en"))
    claim(folder, corpus_key("multi30k", "en", "de"))


HOLD = """
import sys
from pathlib import Path
from preprocess.stages import one_writer
with one_writer(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(folder):
    processes = []

    def hold(how):
        command = [sys.executable, "-c", HOLD, str(folder), how]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, **pipes)
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


def test_one_command_fills_a_folder_until_its_process_ends(folder, holder):
    process = holder("alone")
    for shared in (False, True):
        filling = pytest.raises(UserError, match="another command is filling it")
        with filling, one_writer(folder, shared):
            pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with one_writer(folder):
        pass


def test_those_who_share_the_work_go_side_by_side(folder, holder):
    holder("shared")
    with one_writer(folder, shared=True):
        pass
    with pytest.raises(UserError, match="another command is filling it"), one_writer(folder):
        pass

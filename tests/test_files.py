from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from tiednmt import files
from tiednmt.errors import UserError
from tiednmt.files import file_name, folder_when_whole, sha256, write_json, write_whole


def test_a_file_gets_its_name_only_when_whole(tmp_path):
    path = tmp_path / "folder" / "text"
    with pytest.raises(RuntimeError), write_whole(path) as file:
        file.write("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []

    with write_whole(path) as file:
        file.write("whöle\n")
        assert not path.exists()
    assert path.read_bytes() == "whöle\n".encode()

    with pytest.raises(RuntimeError), write_whole(path) as file:
        raise RuntimeError
    assert path.read_bytes() == "whöle\n".encode()


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    path = tmp_path / "text"
    refused = pytest.raises(UserError, match=r"text: another process is writing it")
    with write_whole(path) as first:
        first.write("first ")
        with refused, write_whole(path):
            pass
        first.write("whole\n")
    assert path.read_text() == "first whole\n"
    with write_whole(path) as second:
        second.write("second\n")
    assert path.read_text() == "second\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_platform_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    for text in ("first", "second"):
        with write_whole(tmp_path / "text") as file:
            file.write(text)
        assert [path.read_text() for path in tmp_path.iterdir()] == [text]


def test_what_a_killed_writer_left_is_replaced(tmp_path):
    program = """
import os, pathlib, sys
from tiednmt.files import write_whole
with write_whole(pathlib.Path(sys.argv[1])) as file:
    print("half " * 100, file=file, flush=True)
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "text")], check=False)
    assert [path.name for path in tmp_path.iterdir()] == ["text.partial"]
    with write_whole(tmp_path / "text") as file:
        file.write("whole\n")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole\n"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_error(tmp_path):
    (tmp_path / "text.partial").symlink_to("/dev/full")
    full = pytest.raises(UserError, match=r"text: cannot be written: No space left")
    with full, write_whole(tmp_path / "text") as file:
        file.write("x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_whole, folder_when_whole])
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EIO, "out: cannot be written, or a file for it cannot be read: Input/output error"),
        (errno.ENOSPC, "out: cannot be written: No space left on device"),
    ],
)
def test_what_is_read_may_be_at_fault(tmp_path, write, number, message):
    """The system names no file where ``read`` or ``write`` fails."""
    with pytest.raises(UserError, match=f"{message}$"), write(tmp_path / "out"):
        raise OSError(number, os.strerror(number))
    assert not list(tmp_path.iterdir())


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_folder_gets_its_name_only_when_whole(tmp_path):
    folder = tmp_path / "a" / "folder"
    with pytest.raises(RuntimeError), folder_when_whole(folder) as partial:
        (partial / "file").write_text("half")
        raise RuntimeError
    assert list(folder.parent.iterdir()) == []
    folder.mkdir()
    with folder_when_whole(folder) as partial:
        (partial / "file").write_text("whole")
    assert (folder / "file").read_text() == "whole"
    assert list(folder.parent.iterdir()) == [folder]
    with pytest.raises(UserError, match="exists"), folder_when_whole(folder):
        pass


def test_a_link_to_an_empty_folder_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    with folder_when_whole(tmp_path / "link") as partial:
        (partial / "file").write_text("whole")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_text() == "whole"


def test_the_current_folder_is_refused_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="the current folder"), folder_when_whole(Path()):
        pytest.fail("began")


@pytest.mark.parametrize("name", ["input", "fold"])
def test_a_missing_input_is_named_and_not_the_folder(name, tmp_path):
    with pytest.raises(FileNotFoundError) as raised, folder_when_whole(tmp_path / "folder"):
        open(tmp_path / name)  # noqa: SIM115
    assert raised.value.filename == str(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    expected = pytest.raises(UserError, match="folder: cannot be written")
    with expected, folder_when_whole(tmp_path / "file" / "folder"):
        pytest.fail("began")


def run(code, **options):
    command = [sys.executable, "-c", f"from tiednmt.files import *\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


PRINT = """
import sys
from pathlib import Path
print("before")
with write_whole(Path(sys.argv[1])) as file:
    file.write("whole\\n")
print("after")
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("to_file", [False, True])
def test_standard_output_is_written_to_in_its_turn(name, to_file, tmp_path):
    code = PRINT.replace("sys.argv[1]", repr(name))
    if to_file:
        with open(tmp_path / "out", "w") as out:
            command = [sys.executable, "-c", f"from tiednmt.files import *\n{code}"]
            subprocess.run(command, stdout=out, timeout=60)
        printed = (tmp_path / "out").read_text()
    else:
        printed = run(code).stdout
    assert printed == "before\nwhole\nafter\n"


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True) as reader:
        with write_whole(tmp_path / "pipe") as file:
            file.write("whole\n")
        assert reader.communicate(timeout=30)[0] == "whole\n"
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(("device", "fails"), [("/dev/null", False), ("/dev/full", True)])
def test_a_device_stays_one(device, fails, tmp_path):
    path = tmp_path / "link"
    path.symlink_to(device)  # so that no fault of ours could replace the device
    expected = pytest.raises(UserError, match="link") if fails else nullcontext()
    with expected, write_whole(path) as file:
        file.write("whole\n")
    assert path.is_char_device() and path.is_symlink()


def test_a_link_is_written_through(tmp_path):
    target = tmp_path / "real" / "text"
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(target)
    for text in ("first\n", "second\n"):  # it points nowhere at first
        with write_whole(tmp_path / "link") as file:
            file.write(text)
        assert (tmp_path / "link").is_symlink()
        assert target.read_text() == text
    assert {path.name for path in target.parent.iterdir()} == {"text"}


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)), write_whole(tmp_path):
        pass


@pytest.mark.parametrize(
    "content", [{"a": math.nan}, [math.inf], {"a": {"b": [-math.inf]}}, {"a": "\ud800"}], ids=repr
)
def test_json_holds_numbers_alone_and_keeps_what_was_there(content, tmp_path):
    (tmp_path / "a.json").write_text("{}\n")
    with pytest.raises(UserError, match=r"a\.json"):
        write_json(tmp_path / "a.json", content)
    assert (tmp_path / "a.json").read_text() == "{}\n"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_name_of_a_file():
    assert file_name("three-way, 5/c") == "three-way-5-c"
    assert file_name("Übersetzung_1.a+b") == "Übersetzung_1.a+b"

"""``tiednmt translate`` as a command line."""

import socket
import subprocess
import sys

import pytest

import tiednmt
from tests.support.translators import LINES
from tiednmt.commands import evaluate, translate


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_text("\n".join(LINES) + "\n")
    return path


def test_one_line_out_for_each_line_in(prepared, checkpoint, folder, text, capsys):
    translate.main([str(folder), "--input", str(text)])
    out = capsys.readouterr().out
    assert out.split("\n") == [*tiednmt.load(folder).translate(LINES), ""]
    translate.main([str(checkpoint), "--data", str(prepared), "--input", str(text), "--cpu"])
    assert capsys.readouterr().out == out
    translate.main([str(folder), str(folder), "--input", str(text)])
    assert capsys.readouterr().out == out


def test_evaluate_takes_a_model_folder_with_the_folder_of_the_test_sets(
    prepared, folder, text, capsys
):
    """Which translate refuses, since it would have no effect."""
    given = [str(folder), "--data", str(prepared), "--input", str(text)]
    evaluate.main([*given, "--cpu"])
    assert capsys.readouterr().out.split("\n") == [*tiednmt.load(folder).translate(LINES), ""]
    with pytest.raises(SystemExit, match=f"--data {prepared}: a model folder needs none"):
        translate.main(given)


def test_nbest(folder, text, capsys):
    translate.main([str(folder), "--input", str(text), "--nbest", "2", "--beam", "3"])
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    found = tiednmt.load(folder).translate(LINES, nbest=2, beam=3, details=True)
    expected = [
        [str(number), f"{one.score:.4f}", one.text]
        for number, several in enumerate(found, start=1)
        for one in several
    ]
    assert rows == expected


def test_more_translations_than_the_beam_are_refused_before_loading(tmp_path, capsys):
    with pytest.raises(SystemExit):
        translate.main([str(tmp_path / "none"), "--nbest", "6"])
    assert "--nbest 6: more than --beam 5" in capsys.readouterr().err


@pytest.mark.parametrize(("stream", "told"), [("stdin", "--input FILE"), ("stdout", "nowhere")])
def test_a_closed_stream_is_one_line(stream, told, folder, monkeypatch):
    monkeypatch.setattr(sys, stream, None)
    with pytest.raises(SystemExit) as ended:
        translate.main([str(folder)])
    assert ended.value.code.startswith(f"error: {stream} is closed") and told in ended.value.code


def test_a_socket_is_read_as_stdin(folder):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall("\n".join(LINES).encode())
        ours.shutdown(socket.SHUT_WR)
        code = "from tiednmt.text.lines import *; print(*read_lines(STDIN), sep='\\n')"
        done = subprocess.run([sys.executable, "-c", code], stdin=theirs, stdout=subprocess.PIPE)
    assert done.stdout.decode().splitlines() == LINES


def test_errors_are_one_line(folder, tmp_path):
    for arguments in ([tmp_path / "none.pt"], [folder, "--input", tmp_path / "none"]):
        with pytest.raises(SystemExit) as ended:
            translate.main([*map(str, arguments)])
        assert str(ended.value.code).startswith("error: ")
        assert "none" in str(ended.value.code) and "\n" not in str(ended.value.code)

"""``tiednmt translate`` as a command line."""

import pytest

import tiednmt
from tests.support.translators import LINES
from tiednmt.commands import translate


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


def test_errors_are_one_line(folder, tmp_path):
    for arguments in ([tmp_path / "none.pt"], [folder, "--input", tmp_path / "none"]):
        with pytest.raises(SystemExit) as ended:
            translate.main([*map(str, arguments)])
        assert str(ended.value.code).startswith("error: ")
        assert "none" in str(ended.value.code) and "\n" not in str(ended.value.code)

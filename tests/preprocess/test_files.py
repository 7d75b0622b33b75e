import gzip
import os

import pytest

from preprocess import files
from preprocess.files import read_lines, sha256, write_whole
from tiednmt.errors import UserError


def lines_of(tmp_path, content, name="text.en"):
    (tmp_path / name).write_bytes(content)
    return list(read_lines(tmp_path / name))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"\xef\xbb\xbfa\nb\n", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\rb\n", ["a b"]),
        ("a\u2028b\x85c\x0bd\x0ce\x1cf\n".encode(), ["a\u2028b\x85c\x0bd\x0ce\x1cf"]),
    ],
)
def test_lines_end_at_line_feeds_only(tmp_path, content, expected):
    assert lines_of(tmp_path, content) == expected
    assert lines_of(tmp_path, gzip.compress(content), "text.en.gz") == expected


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"good\nb\xe4d\n", r"text\.en, line 2: not UTF-8 \(byte 0xe4 at byte 2"),
        (b"good\ngood\nb\0d\n", r"text\.en, line 3: holds a NUL"),
        (b"\xed\xa0\x80\n", r"text\.en, line 1: not UTF-8"),  # a lone surrogate
        ("text".encode("utf-16"), r"text\.en, line 1: not UTF-8"),
    ],
)
def test_bad_bytes_are_refused_by_file_and_line(tmp_path, content, fault):
    with pytest.raises(UserError, match=fault):
        lines_of(tmp_path, content)


def test_lines_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_LINE", 2 << 20)
    most = b"a" * (2 << 20)
    assert lines_of(tmp_path, b"b\n" + most) == ["b", most.decode()]
    with pytest.raises(UserError, match=r"text\.en, line 2: longer than 2 MB; divide it, .*fold"):
        lines_of(tmp_path, b"b\n" + most + b"a\nc\n")


def test_a_gzip_file_cut_short_or_damaged_is_refused(tmp_path):
    whole = gzip.compress(os.urandom(5000).hex().encode() + b"\n")
    for content in (whole[:-20], whole[:2000], b"not gzip", whole[:500] + bytes(100) + whole[600:]):
        with pytest.raises(UserError, match=r"text\.en\.gz: damaged or cut short"):
            lines_of(tmp_path, content, "text.en.gz")


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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_error(tmp_path):
    (tmp_path / "text.partial").symlink_to("/dev/full")
    full = pytest.raises(UserError, match=r"text: cannot be written: No space left")
    with full, write_whole(tmp_path / "text") as file:
        file.write("x")
    assert list(tmp_path.iterdir()) == []


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )

"""Lines of files, whatever they are compressed with and called."""

import bz2
import gzip
import io
import lzma
import os
import sys
import tarfile

import pytest

from tiednmt.errors import UserError
from tiednmt.text import lines
from tiednmt.text.lines import open_bytes, read_lines

COMPRESS = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}
try:
    import zstandard
except ImportError:
    zstandard = None
else:
    # as the command does; without a check sum not all damage can be seen
    COMPRESS["zst"] = lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data)
TEXT = "eins\nzwei\n\nдва 狗"


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
    for ending, compress in COMPRESS.items():
        assert lines_of(tmp_path, compress(content), f"text.en.{ending}") == expected


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
    monkeypatch.setattr(lines, "LONGEST_LINE", 2 << 20)
    most = b"a" * (2 << 20)
    assert lines_of(tmp_path, b"b\n" + most) == ["b", most.decode()]
    with pytest.raises(UserError, match=r"text\.en, line 2: longer than 2 MB; split it, .*fold"):
        lines_of(tmp_path, b"b\n" + most + b"a\nc\n")


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("name", ["text", "text.en.gz", "text.xz", "text.bz2", "text.zst"])
def test_content_says_how_a_file_is_compressed(tmp_path, kind, name):
    content = COMPRESS[kind](TEXT.encode())
    assert lines_of(tmp_path, content, name) == TEXT.split("\n")
    assert lines_of(tmp_path, TEXT.encode(), name) == TEXT.split("\n")
    twice = content + COMPRESS[kind](b"\nmore")  # as cat joins them
    assert lines_of(tmp_path, twice, name) == [*TEXT.split("\n"), "more"]


@pytest.mark.parametrize("kind", [None, *COMPRESS])
@pytest.mark.parametrize("inner", [None, *COMPRESS])
def test_a_member_of_an_archive(tmp_path, kind, inner):
    """It is found wherever it stands, and may itself be compressed."""
    text = TEXT.encode()
    wanted = COMPRESS[inner](text) if inner else text
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in (("a", b"x" * 30_000), ("./folder/text", wanted), ("z", b"y")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    whole = archive.getvalue()
    (tmp_path / "archive").write_bytes(COMPRESS[kind](whole) if kind else whole)
    with open_bytes(tmp_path / "archive", "folder/text") as file:
        assert file.read() == text
    refused = pytest.raises(UserError, match="archive: holds no text; get the right archive")
    with refused, open_bytes(tmp_path / "archive", "text"):
        pass


def test_text_that_begins_like_a_compressed_file(tmp_path):
    assert lines_of(tmp_path, b"BZh is bzip2.\n") == ["BZh is bzip2."]


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_compressed_file_that_is_cut_short_or_damaged_is_refused(tmp_path, kind):
    whole = COMPRESS[kind](os.urandom(5000).hex().encode() + b"\n")
    spoilt = whole[:2500] + bytes(byte ^ 255 for byte in whole[2500:2600]) + whole[2600:]
    for content in (whole[:-2], whole[: len(whole) // 2], spoilt):
        # what is unpacked before the check sum is seen may be no text already
        with pytest.raises(UserError, match=r"text\.en(: damaged|, line \d+: (holds|not UTF))"):
            lines_of(tmp_path, content, "text.en")


def test_zstandard_that_is_not_installed_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(
        UserError,
        match=r"text\.en, compressed with Zstandard: zstandard not installed; pip install",
    ):
        lines_of(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(9))


@pytest.mark.skipif(zstandard is None, reason="needs zstandard")
def test_memory_does_not_grow_with_what_a_file_unpacks_to(tmp_path):
    bomb = zstandard.compress(bytes(1 << 28))
    assert len(bomb) < 50_000
    with pytest.raises(UserError, match=r"text\.en, line 1: longer than 4 MB"):
        lines_of(tmp_path, bomb)

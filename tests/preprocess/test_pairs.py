"""Sentence pairs out of plain files, sgm and archives."""

import gzip
import io
import tarfile
import zipfile

import pytest

from preprocess.pairs import TextFile, line_by_line, segment_by_segment
from tiednmt.errors import UserError
from tiednmt.text.lines import read_lines

TEXT = "eins\nzwei\n\ndrei"


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return TextFile(path)


def pack(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def test_a_member_of_any_archive_reads_like_the_file(tmp_path):
    content = TEXT.encode()
    members = {"other": b"x" * 5000, "a/text.de": content, "a/text.de.gz": gzip.compress(content)}
    pack(tmp_path / "one.tgz", members)
    pack(tmp_path / "one.tar.gz", members)
    pack(tmp_path / "one.tar", members, "w")
    pack(tmp_path / "dotted.tgz", {f"./{name}": data for name, data in members.items()})
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    for path in tmp_path.iterdir():
        for member in ("a/text.de", "a/text.de.gz"):
            assert list(read_lines(path, member)) == TEXT.split("\n")
        with pytest.raises(UserError, match=rf"{path.name}: holds no a/text.fr; get the right"):
            list(read_lines(path, "a/text.fr"))


def test_archives_cut_short_or_damaged_are_refused(tmp_path):
    pack(tmp_path / "whole.tgz", {"text": b"some words\n" * 50_000})
    whole = (tmp_path / "whole.tgz").read_bytes()
    for content in (b"not an archive", whole[: len(whole) // 2], whole[:50] + b"?" * 40):
        (tmp_path / "bad.tgz").write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.tgz: damaged or cut short"):
            list(read_lines(tmp_path / "bad.tgz", "text"))


def test_line_numbers_in_an_archive_are_those_of_the_member(tmp_path):
    pack(tmp_path / "a.tgz", {"x": b"good\nb\xe4d\n"})
    with pytest.raises(UserError, match=r"a\.tgz, x, line 2: not UTF-8"):
        list(read_lines(tmp_path / "a.tgz", "x"))


@pytest.mark.parametrize(("one", "other"), [("a\n", "x\ny\nz\n"), ("a\nb\nc\n", "x\n")])
def test_sides_of_different_length_are_named_with_their_lines(tmp_path, one, other):
    sides = write(tmp_path, "t.en", one), write(tmp_path, "t.de", other)
    pairs = line_by_line(*sides)
    assert next(pairs) == ("a", "x")
    lengths = rf"t\.en has {one.count(chr(10))} lines and .*t\.de has {other.count(chr(10))}"
    with pytest.raises(UserError, match=lengths):
        list(pairs)


SOURCE = """<srcset setid="newstest2014" srclang="any">
<doc sysid="ref" docid="bbc.1" genre="news" origlang="en">
<hl>
<seg id="1">Q&amp;A: &quot;Is 1 &lt; 2?&quot;</seg>
</hl>
<p>
<seg id="2"> Yes &#8211; of  course. </seg>
</p>
</doc>
<DOC docid="cnn.7" genre="news">
<SEG id="1">Marked up</SEG>
</DOC>
</srcset>
"""
REFERENCE = (
    SOURCE.replace("srcset", "refset")
    .replace("Is 1", "Ist 1")
    .replace("Yes", "Ja")
    .replace("Marked up", "Ausgezeichnet")
)


def test_segments_are_paired_and_their_entities_resolved(tmp_path):
    sides = write(tmp_path, "src.en.sgm", SOURCE), write(tmp_path, "ref.de.sgm", REFERENCE)
    assert list(segment_by_segment(*sides)) == [
        ('Q&A: "Is 1 < 2?"', 'Q&A: "Ist 1 < 2?"'),
        ("Yes – of  course.", "Ja – of  course."),
        ("Marked up", "Ausgezeichnet"),
    ]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            '<seg id="1">Q',
            r"line 4, has segment 1 of document bbc.1 where .*ref\.de\.sgm, line 6, ",
        ),
        ("<SEG", r"line 11, has segment 1 of document cnn.7 where .*ref\.de\.sgm has ended"),
    ],
)
def test_a_missing_segment_is_named_by_file_line_and_document(tmp_path, line, found):
    kept = [text for text in REFERENCE.splitlines(True) if not text.startswith(line)]
    sides = write(tmp_path, "src.en.sgm", SOURCE), write(tmp_path, "ref.de.sgm", "".join(kept))
    with pytest.raises(UserError, match=found):
        list(segment_by_segment(*sides))


def test_a_segment_that_is_not_ended_is_refused(tmp_path):
    broken = REFERENCE.replace("course. </seg>", "course.")
    sides = write(tmp_path, "src.en.sgm", SOURCE), write(tmp_path, "ref.de.sgm", broken)
    with pytest.raises(UserError, match=r"ref\.de\.sgm, line 7: a <seg> without"):
        list(segment_by_segment(*sides))

import gzip
import io
import json
import tarfile

import pytest

from preprocess import imdb

REVIEWS = {
    "test/neg/0_2.txt": "Boring.",
    "test/pos/0_10.txt": "A classic!",
    "train/neg/11874_1.txt": "It wasn't good.<br /><br />Avoid it.",
    "train/neg/11875_3.txt": "Held out.",
    "train/pos/0_9.txt": "I liked it<br>a lot.\nReally.",
    "train/pos/12499_7.txt": "Held out too.",
    "train/unsup/47499_0.txt": "No label, but text: naïve.",
    "train/unsup/47500_0.txt": "Held out as well.",
    "train/urls_pos.txt": "http://example.org",
    "README": "not a review",
}


def tar(reviews):
    """An uncompressed archive in the layout of aclImdb_v1."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, review in reviews.items():
            data = review if isinstance(review, bytes) else review.encode()
            member = tarfile.TarInfo(f"aclImdb/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def write(raw, content):
    (raw / "aclImdb_v1.tar.gz").write_bytes(gzip.compress(content))


def test_reviews_are_lines_split_by_number(raw, tmp_path):
    write(raw, tar(REVIEWS))
    dest = tmp_path / "dest"
    imdb.main(["--raw", str(raw), "--dest", str(dest), "--vocabulary", "3"])
    texts = {path.stem: path.read_text("utf-8") for path in (dest / "tokenised").iterdir()}
    assert texts == {
        "train": (
            "It wasn 't good . Avoid it .\n"
            "I liked it a lot . Really .\n"
            "No label , but text : naïve .\n"
        ),
        "valid": "Held out .\nHeld out too .\nHeld out as well .\n",
        "test": "Boring .\nA classic !\n",
    }
    manifest = json.loads((dest / "manifest.json").read_text())
    assert manifest["corpus"] == "imdb"
    assert manifest["options"]["language"] == "en"
    assert manifest["vocabulary"] == {"types": 3, "dictionary": 8}
    dictionary = (dest / "data-bin/dict.txt").read_text().splitlines()
    assert dictionary[:2] == [". 5", "it 2"]
    assert not list(dest.rglob("*neg*"))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda content: gzip.compress(content)[:-200], "damaged or cut short"),
        (lambda content: gzip.compress(content[:2000]), "damaged or cut short"),
        (lambda content: gzip.compress(b"no archive" * 1000), "damaged or cut short"),
    ],
)
def test_a_damaged_archive_is_refused(raw, refused, tmp_path, damage, expected):
    (raw / "aclImdb_v1.tar.gz").write_bytes(damage(tar(REVIEWS)))
    dest = tmp_path / "dest"
    message = refused(imdb.main, dest, "--raw", raw, "--dest", dest)
    assert f"aclImdb_v1.tar.gz: {expected}" in message


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"train/pos/1_9.txt": b"Latin-1: \xe4"}, "aclImdb/train/pos/1_9.txt: not UTF-8"),
        ({"train/pos/1_9.txt": "NUL: \0"}, "aclImdb/train/pos/1_9.txt: holds a NUL"),
        ({"test/neg/0_2.txt": "", "test/pos/0_10.txt": " "}, "the test text holds no words"),
    ],
)
def test_bad_reviews_are_refused_by_name(raw, refused, tmp_path, changed, expected):
    write(raw, tar(REVIEWS | changed))
    dest = tmp_path / "dest"
    assert expected in refused(imdb.main, dest, "--raw", raw, "--dest", dest)


def test_a_missing_archive_is_refused(raw, refused, tmp_path):
    dest = tmp_path / "dest"
    message = refused(imdb.main, dest, "--raw", raw, "--dest", dest)
    assert "aclImdb_v1.tar.gz: no such file" in message

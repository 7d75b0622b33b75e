import gzip
import json
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from fairseq.data import Dictionary, data_utils

from preprocess import text8
from preprocess.monolingual import Options, prepare
from tiednmt.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CHARACTERS = {"train": 9_000, "valid": 1_000}


@pytest.fixture
def content():
    """10,000 characters like those of text8."""
    random = Random(1)
    words = random.choices(["a", "of", "anarchism", "zero", "one", "mit"], k=4_000)
    words[::250] = random.choices(["aback", "abacus"], k=16)  # rare ones
    return (" " + " ".join(words)).encode()[:10_000]


@pytest.fixture
def raw(tmp_path, content):
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "text8").write_bytes(content)
    return folder


def test_the_words_are_one_stream_cut_at_a_character(raw, content, tmp_path):
    dest = tmp_path / "dest"
    prepare(text8.corpus_in(raw, CHARACTERS), dest, Options(min_count=11))
    dictionary = Dictionary.load(str(dest / "data-bin/dict.txt"))
    train, valid = content[:9_000].decode().split(), content[9_000:].decode().split()
    known = {word for word, count in Counter(train).items() if count > 10}
    for subset, words in (("train", train), ("valid", valid)):
        data = data_utils.load_indexed_dataset(str(dest / "data-bin" / subset), dictionary)
        stream = [dictionary[int(token)] for item in data for token in item]
        assert stream == [word if word in known else "<unk>" for word in words]
        assert len(data) == -(-len(words) // 1000)
    assert len(known) == 6 and {"aback", "abacus"} <= set(train)
    assert len(train) > 1_000 and content[8_999:9_001].isalpha()  # the cut divides a word


def test_archives_hold_the_same_text(raw, content, tmp_path):
    corpora = [text8.corpus_in(raw, CHARACTERS)]
    for suffix in ("gz", "zip"):
        folder = tmp_path / suffix
        folder.mkdir()
        if suffix == "gz":
            (folder / "text8.gz").write_bytes(gzip.compress(content))
        else:
            with zipfile.ZipFile(folder / "text8.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("text8", content)
        corpora.append(text8.corpus_in(folder, CHARACTERS))
    plain, *packed = [list(corpus.lines()) for corpus in corpora]
    assert packed == [plain, plain]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda content: content[:-1], "1 characters are missing"),
        (lambda content: content + b" ", "more than 10,000 characters"),
        (lambda content: content.replace(b"a", b"A", 1), "other than a to z and space"),
        (lambda content: content.replace(b" ", b"\n", 1), "other than a to z and space"),
        (lambda content: content.replace(b" ", b"\0", 1), "other than a to z and space"),
    ],
)
def test_another_text_is_refused(raw, content, tmp_path, spoil, expected):
    (raw / "text8").write_bytes(spoil(content))
    with pytest.raises(UserError, match=rf"text8: not text8: .*{expected}.*preprocess\.text"):
        prepare(text8.corpus_in(raw, CHARACTERS), tmp_path / "dest", Options())
    assert not list(tmp_path.rglob("*.partial"))


def test_the_command_refuses_what_is_not_text8(raw, refused, tmp_path):
    dest = tmp_path / "dest"
    message = refused(text8.main, dest, "--raw", raw, "--dest", dest)
    assert "98,990,000 characters are missing" in message


@pytest.mark.parametrize("name", ["text8.zip", "text8.gz"])
def test_an_archive_cut_short_is_refused(raw, content, refused, tmp_path, name):
    (raw / "text8").unlink()
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text8", content)
    whole = {
        "text8.zip": (tmp_path / "whole.zip").read_bytes(),
        "text8.gz": gzip.compress(content),
    }[name]
    (raw / name).write_bytes(whole[: len(whole) // 2])
    dest = tmp_path / "dest"
    message = refused(text8.main, dest, "--raw", raw, "--dest", dest)
    assert f"{name}: damaged or cut short" in message


def test_a_zip_archive_of_something_else_is_refused(raw, refused, tmp_path):
    with zipfile.ZipFile(raw / "text8.zip", "w") as archive:
        archive.writestr("enwik8", "x")
    dest = tmp_path / "dest"
    message = refused(text8.main, dest, "--raw", raw, "--dest", dest)
    assert "text8.zip: holds no text8" in message


MEASURE = """
import json, sys
from pathlib import Path
from random import Random
from fairseq.data import Dictionary, indexed_dataset
from preprocess import text8
from preprocess.monolingual import Options, prepare
from tests.support.memory import peak_of_memory

raw, dest, characters = sys.argv[1:]
before = peak_of_memory()
corpus = text8.corpus_in(Path(raw), {"train": int(characters) - 1000, "valid": 1000})
prepare(corpus, Path(dest), Options(workers=1))
print("KB", peak_of_memory() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory in kilobytes, as Linux does")
def test_a_long_line_is_never_held_in_memory(raw, content, tmp_path):
    long = content * 800  # 8 MB, 1.7 million words: as a list of strings about 100 MB
    (raw / "text8").write_bytes(long)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, raw, tmp_path / "dest", str(len(long))],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kilobytes = int(re.search(r"^KB (\d+)$", done.stdout, re.MULTILINE)[1])
    assert kilobytes < 40_000
    counts = json.loads((tmp_path / "dest/manifest.json").read_text())["counts"]
    assert counts["train"]["tokens"] > 1_500_000

import json
import zipfile

import pytest
from fairseq.data import Dictionary, data_utils

from preprocess import wikitext2

TEXTS = {
    "train": " \n = Robert Boulter = \n \n Robert Boulter is an English <unk> . \n",
    "valid": " \n = Homarus = \n",
    "test": " \n Robert <unk> \n",
}


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    with zipfile.ZipFile(folder / "wikitext-2-v1.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for subset, content in TEXTS.items():
            archive.writestr(f"wikitext-2/wiki.{subset}.tokens", content)
    return folder


def prepare(raw, dest):
    wikitext2.main(["--raw", str(raw), "--dest", str(dest)])
    return json.loads((dest / "manifest.json").read_text())


def test_the_archive_is_read_as_it_is_published(raw, tmp_path):
    dest = tmp_path / "dest"
    manifest = prepare(raw, dest)
    dictionary = Dictionary.load(str(dest / "data-bin/dict.txt"))
    data = data_utils.load_indexed_dataset(str(dest / "data-bin/train"), dictionary)
    assert [dictionary.string(item, include_eos=True) for item in data] == [
        "</s>",
        "= Robert Boulter = </s>",
        "</s>",
        "Robert Boulter is an English <unk> . </s>",
    ]
    assert manifest["counts"]["train"] == {"lines": 4, "tokens": 15, "unknown": 1}
    assert manifest["counts"]["valid"]["unknown"] == 1
    assert manifest["vocabulary"] == {"types": 7, "dictionary": 16}


def test_files_out_of_the_archive_are_the_same_text(raw, tmp_path):
    from_archive = prepare(raw, tmp_path / "archive")
    folder = tmp_path / "unpacked"
    folder.mkdir()
    for subset, content in TEXTS.items():
        (folder / f"wiki.{subset}.tokens").write_text(content)
    assert prepare(folder, tmp_path / "files") == from_archive


def test_an_archive_cut_short_or_missing_is_refused(raw, refused, tmp_path):
    archive = raw / "wikitext-2-v1.zip"
    archive.write_bytes(archive.read_bytes()[:-30])
    dest = tmp_path / "dest"
    message = refused(wikitext2.main, dest, "--raw", raw, "--dest", dest)
    assert "wikitext-2-v1.zip: damaged or cut short" in message
    archive.unlink()
    message = refused(wikitext2.main, dest, "--raw", raw, "--dest", dest)
    assert "wikitext-2-v1.zip: no such file, nor wiki.train.tokens" in message


def test_a_bad_line_is_named_with_its_archive(raw, refused, tmp_path):
    with zipfile.ZipFile(raw / "wikitext-2-v1.zip", "w") as archive:
        archive.writestr("wikitext-2/wiki.train.tokens", b"good\nb\xe4d\n")
    dest = tmp_path / "dest"
    message = refused(wikitext2.main, dest, "--raw", raw, "--dest", dest)
    assert "wikitext-2-v1.zip, wikitext-2/wiki.train.tokens, line 2: not UTF-8" in message

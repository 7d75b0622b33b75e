import gzip
import json
import re

import pytest
from fairseq.data import Dictionary, data_utils

from preprocess import ptb

SIZES = {"train": (42_068, 929_589), "valid": (3_370, 73_760), "test": (3_761, 82_430)}


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for subset in ("train", "valid", "test"):
        (folder / f"ptb.{subset}.txt").write_text(" the <unk> fell N points \n it did \n")
    return folder


def test_the_dictionary_is_not_padded(raw, tmp_path):
    dest = tmp_path / "dest"
    ptb.main(["--raw", str(raw), "--dest", str(dest)])
    dictionary = Dictionary.load(str(dest / "data-bin/dict.txt"))
    assert len(dictionary) == 6 + 4
    data = data_utils.load_indexed_dataset(str(dest / "data-bin/train"), dictionary)
    assert [dictionary.string(item, include_eos=True) for item in data] == [
        "the <unk> fell N points </s>",
        "it did </s>",
    ]
    assert int(data[0][1]) == dictionary.unk()


def test_a_missing_file_is_refused(raw, refused, tmp_path):
    (raw / "ptb.test.txt").unlink()
    dest = tmp_path / "dest"
    message = refused(ptb.main, dest, "--raw", raw, "--dest", dest)
    assert "ptb.test.txt: no such file, nor ptb.test.txt.gz" in message


def test_another_file_than_the_published_one_is_refused(server, refused, tmp_path):
    server.content = b"a log-in page\n"
    dest = tmp_path / "dest"
    message = refused(ptb.main, dest, "--url", server.url, "--dest", dest)
    # the three come side by side: whichever is read first is named
    assert re.search(rf"{server.url}/ptb\.(train|valid|test)\.txt: the file has SHA-256", message)


@pytest.fixture
def real(data_folder):
    if not (data_folder / "ptb").is_dir():
        pytest.skip(f"no folder {data_folder / 'ptb'}")
    return data_folder / "ptb"


@pytest.mark.real_data
def test_the_real_corpus_has_the_sizes_of_the_literature(real, tmp_path):
    raw_folder = tmp_path / "raw"
    ptb.main(["--raw", str(real), "--dest", str(raw_folder)])
    manifest = json.loads((raw_folder / "manifest.json").read_text())
    sizes = {s: (count["lines"], count["tokens"]) for s, count in manifest["counts"].items()}
    assert sizes == SIZES
    # 10,000 types with <unk> and the end of the sentence, which are fairseq's; and <s> and <pad>
    assert manifest["vocabulary"] == {"types": 9_998, "dictionary": 10_002}
    # no word of the held-out text is unknown but those that were so already
    for subset in ("train", "valid", "test"):
        words = (raw_folder / "tokenised" / f"{subset}.txt").read_text().split()
        assert manifest["counts"][subset]["unknown"] == words.count("<unk>")


@pytest.mark.real_data
def test_the_real_corpus_is_downloaded(real, server, tmp_path):
    server.files = {
        f"ptb.{subset}.txt": gzip.decompress((real / f"ptb.{subset}.txt.gz").read_bytes())
        for subset in SIZES
    }
    dest = tmp_path / "dest"
    ptb.main(["--url", server.url, "--dest", str(dest)])
    counts = json.loads((dest / "manifest.json").read_text())["counts"]
    assert {subset: count["tokens"] for subset, count in counts.items()} == {
        subset: tokens for subset, (_, tokens) in SIZES.items()
    }

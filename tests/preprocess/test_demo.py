"""The demo corpus as a whole, and its command line."""

import hashlib
import json

import pytest

from preprocess.demo import PAIRS, files_in, generate, write_raw
from tests.support.commandline import run
from tiednmt.errors import UserError

# The default corpus: a change of the grammar changes these, and every score reported on it.
SHA256 = {
    "train.en": "feb09514cb3387106b57e1d5f849d2dd8015581fd2009da07f7b322a32fb03f0",
    "train.de": "fa2260d795e9d9e112f21d73a863d0dea974d61c193767768bb84846335e7e77",
    "valid.en": "099eb451595296e214f15558b7bef8029ab8677fc8fe6c46a571c1f11928a36b",
    "valid.de": "befa0410e30c1e3af4c23e306be1a0e26b9c349b1efec76acae02abc9d19a76c",
    "test.en": "bf0c61c5cbe39f44684cf09e6c140f75680a118ad5bcf8b22b34e9aa3bb016a9",
    "test.de": "e5b0b9e7bf51ee71e415bf1ca0363f40a7770fa1239a3cc77caec00064365ab8",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    files = files_in(tmp_path_factory.mktemp("demo"))
    write_raw(files, seed=1, pairs=PAIRS)
    return files


@pytest.fixture(scope="module")
def splits(files):
    return {
        subset: list(zip(*(p.read_text("utf-8").splitlines() for p in paths.values()), strict=True))
        for subset, paths in files.items()
    }


def test_same_bytes_everywhere(files):
    paths = [path for sides in files.values() for path in sides.values()]
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths} == SHA256


def test_sizes(splits):
    assert {name: len(pairs) for name, pairs in splits.items()} == {
        "train": 20_000,
        "valid": 1000,
        "test": 1000,
    }


def test_no_sentence_comes_twice_in_any_split(splits):
    pairs = [pair for split in splits.values() for pair in split]
    for side in (0, 1):
        assert len({pair[side] for pair in pairs}) == len(pairs)


def _words(pairs, side):
    return [word.strip(".,?!") for pair in pairs for word in pair[side].split()]


@pytest.mark.parametrize(("side", "least", "most"), [(0, 500, 800), (1, 800, 1200)])
def test_vocabulary_is_small_and_held_out_words_are_known(splits, side, least, most):
    known = set(_words(splits["train"], side))
    assert least < len(known) < most
    assert set(_words(splits["valid"] + splits["test"], side)) <= known


def test_lengths_are_moderate(splits):
    lengths = [len(source.split()) for source, _ in splits["train"]]
    assert 7 < sum(lengths) / len(lengths) < 10
    assert min(lengths) >= 4 and max(lengths) <= 16


def test_another_seed_gives_another_corpus():
    first, again, other = generate(1, 200), generate(1, 200), generate(2, 200)
    assert first == again
    assert first["train"] != other["train"]
    assert [len(first[name]) for name in ("valid", "test")] == [10, 10]


def test_too_few_pairs():
    with pytest.raises(UserError, match="--pairs 5: must be 100 or more"):
        generate(1, 5)


def test_command_line_prepares_and_then_finds_all_up_to_date(tmp_path):
    arguments = ("--dest", tmp_path, "--pairs", 300, "--merges", 300, "--workers", 1)
    run("-m", "preprocess.demo", *arguments).check()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["corpus"] == "demo"
    assert (tmp_path / "data-bin" / "train.en-de.en.bin").exists()
    assert len((tmp_path / "generated" / "train.de").read_text("utf-8").splitlines()) == 300
    again = run("-m", "preprocess.demo", *arguments).check()
    assert "generate: up to date" in again.stderr and "binarise: up to date" in again.stderr


def test_command_line_refuses_too_few_pairs_in_one_line(tmp_path):
    done = run("-m", "preprocess.demo", "--dest", tmp_path / "new", "--pairs", 5)
    assert done.status != 0
    assert done.stderr.splitlines() == ["error: --pairs 5: must be 100 or more"]
    assert not (tmp_path / "new").exists()

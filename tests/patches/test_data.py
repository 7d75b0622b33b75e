"""Dictionaries and binarised text: whole ones are read as they are, damaged ones are named."""

from __future__ import annotations

import random
import re
import shutil
from itertools import chain

import numpy as np
import pytest
import torch
from fairseq.data import (
    BucketPadLengthDataset,
    Dictionary,
    ListDataset,
    data_utils,
    indexed_dataset,
)
from fairseq_cli import generate

import tiednmt.plugin  # noqa: F401
from tests.support.small_training import train, write_corpus
from tiednmt.errors import UserError
from tiednmt.patches.data import require_whole

SENTENCES = [[4, 5, 2], [6, 2], [7, 8, 9, 2]]


def write(folder, sentences=SENTENCES, impl="mmap", types=10):
    builder = indexed_dataset.make_builder(str(folder / "train.bin"), impl, types)
    for sentence in sentences:
        builder.add_item(torch.tensor(sentence))
    builder.finalize(str(folder / "train.idx"))
    return folder / "train"


@pytest.fixture
def dictionary():
    dictionary = Dictionary()
    for i in range(6):
        dictionary.add_symbol(f"w{i}")
    return dictionary  # with four symbols of fairseq's


@pytest.mark.parametrize("impl", ["mmap", "lazy", "cached"])
@pytest.mark.parametrize("types", [10, 70_000])
def test_whole_text_is_read_as_it_is(impl, types, tmp_path, dictionary):
    path = write(tmp_path, impl=impl, types=types)
    loaded = data_utils.load_indexed_dataset(str(path), dictionary, dataset_impl=impl)
    assert [sentence.tolist() for sentence in loaded] == SENTENCES


def test_text_that_is_not_there_is_none(tmp_path, dictionary):
    assert data_utils.load_indexed_dataset(str(tmp_path / "none"), dictionary) is None


@pytest.mark.parametrize("is_measured", [True, False], ids=["sizes", "function"])
@pytest.mark.parametrize(("sentences", "at_most"), [(25, 5), (25, 1), (7, 100), (16, 8), (1, 1)])
def test_every_sentence_is_in_a_batch(is_measured, sentences, at_most):
    """fairseq 0.12.3 leaves out a last batch that is no multiple of eight, its default."""
    sizes = np.arange(1, sentences + 1) if is_measured else None
    batches = data_utils.batch_by_size(
        *(np.arange(sentences)[::-1], lambda number: number + 1),
        num_tokens_vec=sizes,
        max_sentences=at_most,
        required_batch_size_multiple=8,
    )
    assert max(map(len, batches)) <= at_most
    assert [number for batch in batches for number in batch] == [*range(sentences)][::-1]


def test_what_is_cached_is_read_as_well_as_what_is_not(tmp_path, dictionary):
    path = write(tmp_path, impl="cached")
    data = data_utils.load_indexed_dataset(str(path), dictionary)
    assert type(data).__name__ == "IndexedCachedDataset"
    assert data[2].tolist() == SENTENCES[2]
    data.prefetch([1, 2])
    assert [data[i].tolist() for i in (1, 0, 2, 1)] == [SENTENCES[i] for i in (1, 0, 2, 1)]


@pytest.mark.parametrize(
    ("written", "read"),
    [("mmap", "cached"), ("mmap", "lazy"), ("mmap", "huffman"), ("lazy", "mmap")],
)
def test_text_of_another_format_is_refused(written, read, tmp_path, dictionary):
    path = write(tmp_path, impl=written)
    with pytest.raises(UserError, match=rf"--dataset-impl {read}: .*train"):
        data_utils.load_indexed_dataset(str(path), dictionary, dataset_impl=read)


def change(path, function):
    content = bytearray(path.read_bytes())
    changed = function(content)
    path.write_bytes(content if changed is None else changed)


def set_byte(place, value):
    return lambda content: content.__setitem__(place, value)


DAMAGES = {
    "an empty index": (".idx", lambda content: b""),
    "no index": (".idx", lambda content: b"something else"),
    "half an index": (".idx", lambda content: content[: len(content) // 2]),
    "an index with more": (".idx", lambda content: content + b"x"),
    "another version": (".idx", set_byte(9, 2)),
    "another kind of number": (".idx", set_byte(17, 99)),
    "more sentences": (".idx", set_byte(18, 4)),
    "very many sentences": (".idx", set_byte(24, 100)),
    "another size": (".idx", set_byte(26, 2)),
    "a size below zero": (".idx", set_byte(29, 200)),
    "another place": (".idx", set_byte(-1, 77)),
    "no text": (".bin", lambda content: b""),
    "half the text": (".bin", lambda content: content[: len(content) // 2]),
    "more text": (".bin", lambda content: content + b"xy"),
    "an unknown token": (".bin", set_byte(0, 10)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(damage, tmp_path, dictionary):
    path = write(tmp_path)
    suffix, function = DAMAGES[damage]
    change(path.with_suffix(suffix), function)
    with pytest.raises(UserError, match=r"train\.(idx|bin)"):
        data_utils.load_indexed_dataset(str(path), dictionary)


@pytest.mark.parametrize("damage", [name for name, (of, _) in DAMAGES.items() if of == ".bin"])
def test_damage_of_text_to_be_cached_is_named(damage, tmp_path, dictionary):
    path = write(tmp_path, impl="cached")
    change(path.with_suffix(".bin"), DAMAGES[damage][1])
    if damage == "an unknown token":
        change(path.with_suffix(".bin"), set_byte(0, 11))  # there, each is one more
    with pytest.raises(UserError, match=r"train\.bin"):
        data_utils.load_indexed_dataset(str(path), dictionary)


@pytest.mark.parametrize("impl", ["mmap", "cached"])
def test_a_flipped_bit_of_an_index_is_seen(impl, tmp_path):
    sizes = np.random.default_rng(1).integers(1, 9, 50)
    path = write(tmp_path, [[5] * size for size in sizes], impl)
    content = (tmp_path / "train.idx").read_bytes()
    for chance in map(random.Random, range(100)):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (tmp_path / "train.idx").write_bytes(flipped)
        with pytest.raises(UserError):
            require_whole(path.with_suffix(".idx"), 10)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff\xfe", "größe 3\n".encode("latin-1"), b"word\n", b"word many\n", b"a 1\na 2\n"],
)
def test_a_bad_dictionary_is_named(content, tmp_path):
    (tmp_path / "dict.en.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"dict\.en\.txt"):
        Dictionary.load(str(tmp_path / "dict.en.txt"))


def test_a_good_dictionary_is_read(tmp_path):
    (tmp_path / "dict.en.txt").write_text("größe 3\na 2\n", encoding="utf-8")
    assert Dictionary.load(str(tmp_path / "dict.en.txt")).symbols[4:] == ["größe", "a"]


def test_datasets_of_single_sentences_find_numpys_old_number():
    data = ListDataset([torch.zeros(2), torch.zeros(3)], sizes=np.array([2, 3]))
    assert data.num_tokens(1) == 3
    assert np.compat.long is int


def test_buckets_of_batches_are_found():
    """``--num-batch-buckets``: every item is as long as the longest of its bucket."""
    sentences = [torch.full((length,), 4) for length in (1, 2, 3, 5, 8, 9)]
    sizes = np.array([len(sentence) for sentence in sentences])
    dataset = BucketPadLengthDataset(
        ListDataset(sentences, sizes), sizes, num_buckets=3, pad_idx=1, left_pad=True
    )
    assert [len(dataset[i]) for i in range(6)] == [2, 2, 5, 5, 9, 9]


@pytest.mark.parametrize(("options", "updates"), [({}, 8), ({"upsample_primary": 2}, 12)])
def test_text_in_several_parts_is_read_as_often_as_it_is_told(options, updates, tmp_path):
    """train, train1, …; by default the first as often as the others."""
    data = write_corpus(tmp_path)
    for side in ("en", "de"):
        shutil.copy(data / f"train.en-de.{side}", data / f"train1.en-de.{side}")
    path = train(data, tmp_path / "run", task=options, optimization={"max_epoch": 1})
    assert torch.load(path)["optimizer_history"][-1]["num_updates"] == updates


def test_each_shard_of_a_set_is_another_part(tmp_path, monkeypatch, capsys):
    data = write_corpus(tmp_path / "data")
    good = train(data, tmp_path / "run", optimization={"max_update": 1})
    words = ("--path", good, "--gen-subset", "valid", "--dataset-impl", "raw", "--cpu")
    words = (*words, "--max-len-b", 3, "--num-workers", 0, "--batch-size", 2)

    def translated(*given):
        monkeypatch.setattr("sys.argv", ["fairseq-generate", *map(str, (data, *words, *given))])
        generate.cli_main()
        return re.findall(r"^H-(\d+)", capsys.readouterr().out, flags=re.MULTILINE)

    parts = [translated("--num-shards", 3, "--shard-id", shard) for shard in range(3)]
    whole = translated()
    assert len(set(whole)) == len(whole) > 6
    assert sorted(chain.from_iterable(parts)) == sorted(whole)

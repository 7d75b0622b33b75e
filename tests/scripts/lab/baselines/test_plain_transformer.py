"""torch's Transformer in a bare loop: what it is fed and what it computes."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from fairseq.data import Dictionary, indexed_dataset

from scripts.lab.baselines.plain_transformer import PAD, PlainTransformer, batches, speed

LINES = [[5, 6], [7, 8, 9, 5, 6, 7], [9], [6, 7, 8], [5, 5, 5, 5], [8, 9]]


@pytest.fixture
def data(tmp_path):
    """A prepared folder of six pairs; a target is its source backwards."""
    data_bin = tmp_path / "data-bin"
    data_bin.mkdir()
    words = Dictionary()
    for word in "abcdef":
        words.add_symbol(word)
    for side, turn in (("de", -1), ("en", 1)):
        words.save(str(data_bin / f"dict.{side}.txt"))
        prefix = str(data_bin / f"train.en-de.{side}")
        builder = indexed_dataset.make_builder(f"{prefix}.bin", "mmap", vocab_size=len(words))
        for line in LINES:
            builder.add_item(torch.tensor([*line[::turn], words.eos()]))
        builder.finalize(f"{prefix}.idx")
    return tmp_path


def rows(padded):
    return [[token for token in row if token != PAD] for row in padded.tolist()]


def test_every_pair_is_read_once_an_epoch_in_batches_of_the_size(data):
    found, count = [], 0
    given = batches(data, max_tokens=12)
    while len(found) < len(LINES):
        source, begun, target = next(given)
        assert source.numel() <= 12 and target.numel() <= 12
        for one, start, other in zip(*map(rows, (source, begun, target)), strict=True):
            assert other == [*one[-2::-1], one[-1]]
            assert start == [other[-1], *other[:-1]]
            found.append(one[:-1])
        count += 1
    assert sorted(found) == sorted(LINES) and count < len(LINES)


def model():
    torch.manual_seed(3)
    return PlainTransformer(10, 8, (2, 1), 12, 2, 0.0).double().eval()


def test_no_token_looks_ahead_or_at_padding():
    built = model()
    source, target = torch.tensor([[5, 6, 2], [7, 2, PAD]]), torch.tensor([[2, 5, 6], [2, 8, 9]])
    scores = built(source, target)
    changed = target.clone()
    changed[:, 2] = 4
    torch.testing.assert_close(built(source, changed)[:, :2], scores[:, :2])
    torch.testing.assert_close(built(source[1:, :2], target[1:]), scores[1:])
    assert scores.shape == (2, 3, 10)


def test_all_embeddings_are_one_matrix_that_learns(data):
    built = model().float()
    assert [n for n, p in built.named_parameters() if p.size(0) == 10] == ["embedding.weight"]
    before = built.embedding.weight.detach().clone()
    assert speed(built, islice(batches(data, 12), 4), 4) > 0
    assert not torch.equal(built.embedding.weight, before)

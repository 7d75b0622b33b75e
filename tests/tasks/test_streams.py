"""The corpus as streams: what is read, in which order, and what is left of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tiednmt.errors import UserError
from tiednmt.tasks.streams import CarriedStreams, StreamIterator, StreamWindows, TokenStream

BEFORE = 99


class Sentences(list):
    @property
    def sizes(self):
        return np.array([len(sentence) for sentence in self])


def stream(tokens, seed=0):
    """``0 … tokens - 1``, cut into sentences of one to seven tokens."""
    ends = np.cumsum(np.random.RandomState(seed).randint(1, 8, size=tokens))
    parts = np.split(np.arange(tokens), ends[ends < tokens])
    return TokenStream(Sentences(torch.from_numpy(part) for part in parts if len(part)), "corpus")


def windows(tokens=101, streams=3, workers=2, window=4):
    return StreamWindows(stream(tokens), streams, workers, window, BEFORE)


def iterator(windows, shard_id=0):
    return StreamIterator(windows, CarriedStreams(), shard_id=shard_id)


def test_any_part_is_read_across_sentences():
    tokens = stream(60)
    for start in range(60):
        for end in range(start + 1, 61):
            assert tokens.read(start, end).tolist() == list(range(start, end))
    assert tokens[7] == 7
    assert len(tokens) == 60


@pytest.mark.parametrize("tokens", [100, 101, 103, 7])
@pytest.mark.parametrize(("streams", "workers"), [(1, 1), (3, 1), (3, 2), (1, 5), (2, 3)])
@pytest.mark.parametrize("window", [1, 4])
def test_every_token_is_predicted_once_and_in_order(tokens, streams, workers, window):
    if tokens < streams * workers * window:
        window = 1
    cut = windows(tokens, streams, workers, window)
    read = {}
    for worker in range(workers):
        for batch in iterator(cut, worker).next_epoch_itr():
            if not batch:  # a worker without a part in the last window
                continue
            inputs, targets = batch["net_input"]["src_tokens"], batch["target"]
            assert inputs.shape == targets.shape
            assert batch["ntokens"] == targets.numel()
            assert batch["nsentences"] == len(targets)
            for row, previous, following in zip(batch["id"], inputs, targets, strict=True):
                number = worker * streams + int(row) % streams
                assert int(row) == number
                so_far = read.setdefault(number, [])
                expected = so_far[-1] if so_far else (following[0] - 1 if following[0] else BEFORE)
                assert previous.tolist() == [int(expected), *following[:-1].tolist()]
                so_far += following.tolist()
    assert [token for number in sorted(read) for token in read[number]] == list(range(tokens))


def test_workers_read_what_one_worker_with_all_streams_reads():
    one, two = windows(streams=6, workers=1), windows(streams=3, workers=2)
    halves = zip(*(iterator(two, worker).next_epoch_itr() for worker in (0, 1)), strict=True)
    for whole, parts in zip(iterator(one).next_epoch_itr(), halves, strict=True):
        targets = torch.cat([part["target"] for part in parts if part])
        assert torch.equal(whole["target"], targets)


def test_an_epoch_is_like_the_one_before():
    batches = iterator(windows())
    first, second = ([b["id"].tolist() for b in batches.next_epoch_itr()] for _ in range(2))
    assert first == second
    assert [b["window"] for b in batches.next_epoch_itr()] == [0, 1, 2, 3, 4]


def test_it_goes_on_within_an_epoch_with_the_state_of_each_worker():
    cut = windows()
    before = iterator(cut)
    reading = before.next_epoch_itr()
    next(reading), next(reading)
    whole = (torch.arange(24.0).reshape(2, 6, 2),)
    before.carried.everybody = whole
    saved = before.state_dict()
    for worker in (0, 1):
        after = iterator(cut, worker)
        after.load_state_dict(saved)
        expected = whole[0][:, 3 * worker : 3 * worker + 3]
        assert torch.equal(after.carried.read(3, expected.device)[0], expected)
        assert next(after.next_epoch_itr())["window"] == 2
    for _ in reading:
        pass
    assert "carried" not in before.state_dict()  # an epoch starts with an empty state


@pytest.mark.parametrize("change", [{"tokens": 110}, {"streams": 4}, {"window": 5}])
def test_it_does_not_go_on_over_other_streams(change):
    before = iterator(windows(workers=1))
    next(before.next_epoch_itr())
    before.carried.everybody = (torch.zeros(1, 3, 2),)
    with pytest.raises(UserError, match=r"101 tokens, 3 streams, windows of 4; now .*--batch-size"):
        iterator(windows(**{"workers": 1, **change})).load_state_dict(before.state_dict())


def test_fewer_tokens_than_streams():
    with pytest.raises(UserError, match="corpus: 5 tokens are fewer than 6 streams"):
        windows(tokens=5)


def test_a_window_longer_than_a_stream():
    with pytest.raises(UserError, match=r"--tokens-per-sample 17: longer than a stream of corpus"):
        windows(window=17)

"""What the task carries from batch to batch."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch

import tiednmt.plugin  # noqa: F401
from tests.tasks.test_streams import stream
from tiednmt.errors import UserError
from tiednmt.tasks import streams
from tiednmt.tasks.streams import CarriedStreams
from tiednmt.tasks.tied_language_modeling import TiedLanguageModelingTask


class Reader:
    """A criterion that notes what state a window starts from, and counts windows in it."""

    def __init__(self):
        self.starts = []

    def __call__(self, model, sample):
        carried = sample["net_input"]["carried"]
        self.starts.append(0 if carried.state is None else int(carried.state[0]))
        carried.keep((torch.full((1, 1, 1), self.starts[-1] + 1),))
        return torch.zeros(()), 1, {}


def test_an_update_that_is_made_again_starts_from_the_same_state():
    """As ``--amp`` does where a gradient overflows."""
    task, reader = object.__new__(TiedLanguageModelingTask), Reader()
    task.training_state = CarriedStreams()

    def update(number, *windows):
        for window in windows:
            sample = {"net_input": {}, "window": window, "whole": True}
            task.train_step(sample, MagicMock(), reader, MagicMock(), number)

    update(0, 0, 1)
    update(1, 2, 3)
    update(1, 2, 3)
    update(2, 4)
    update(2, 0)  # another epoch
    assert reader.starts == [0, 1, 2, 3, 2, 3, 4, 0]


def test_workers_collect_their_states_after_the_update(monkeypatch):
    """The last window may be of one worker alone: no other waits for it between batches."""
    task, talks = object.__new__(TiedLanguageModelingTask), []

    def all_gather(part, group):
        talks.append(part.shape)
        return [part, part]

    monkeypatch.setattr(streams.distributed_utils, "get_data_parallel_world_size", lambda: 2)
    monkeypatch.setattr(streams.distributed_utils, "get_data_parallel_group", lambda: None)
    monkeypatch.setattr(streams.distributed_utils, "all_gather", all_gather)
    task.training_state = CarriedStreams()

    def read(model, sample):
        rows = 4 if sample["whole"] else 1
        sample["net_input"]["carried"].keep((torch.full((1, rows, 2), float(sample["window"])),))
        return torch.zeros(()), 1, {}

    task.end_update()  # nothing is carried yet
    for window, whole in ((0, True), (1, True), (2, False)):
        sample = {"net_input": {}, "window": window, "whole": whole}
        task.train_step(sample, MagicMock(), read, MagicMock(), 0)
    assert not talks
    task.end_update()
    assert talks == [(1, 4, 2)]
    assert torch.equal(task.training_state.everybody[0], torch.ones(1, 8, 2))


def batches_of(tokens, window=5, **options):
    """Of an epoch over so many tokens, as the trainer asks for them."""
    task = object.__new__(TiedLanguageModelingTask)
    task.args = SimpleNamespace(tokens_per_sample=window, train_subset="train")
    task.datasets, task.dictionary = {"train": stream(tokens)}, MagicMock(eos=lambda: 99)
    task.training_state = CarriedStreams()
    return list(task.get_batch_iterator(task.datasets["train"], **options).next_epoch_itr())


def test_as_many_streams_as_tokens_allow():
    assert [b["nsentences"] for b in batches_of(62, max_tokens=20)] == [4, 4, 4, 2]
    assert len(batches_of(60, max_tokens=20, max_sentences=4)) == 3
    with pytest.raises(UserError, match=r"--max-tokens .* 19: less than 5 tokens .* 4 streams"):
        batches_of(60, max_tokens=19, max_sentences=4)


def test_the_last_batch_may_be_skipped():
    """``--skip-remainder-batch``."""
    skipped = batches_of(62, max_sentences=4, skip_remainder_batch=True)
    assert [batch["nsentences"] for batch in skipped] == [4, 4, 4]

"""What the task carries from batch to batch."""

from __future__ import annotations

from unittest.mock import MagicMock

import torch

import tiednmt.plugin  # noqa: F401
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

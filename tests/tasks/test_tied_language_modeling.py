"""What the task carries from batch to batch."""

from __future__ import annotations

from unittest.mock import MagicMock

import torch

import tiednmt.plugin  # noqa: F401
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

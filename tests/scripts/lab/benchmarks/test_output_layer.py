"""The output layer beside a plain product; no test looks at a time."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from scripts.lab.benchmarks import output_layer
from scripts.lab.benchmarks.output_layer import Loss, loss
from tiednmt.modules import OutputLayer


def test_both_output_layers_do_the_same_work():
    torch.manual_seed(1)
    layer = OutputLayer(nn.Embedding(30, 8))
    features, target = torch.randn(20, 8), torch.randint(2, 30, (20,))
    torch.testing.assert_close(
        loss("ours", layer, features, target), loss("plain", layer, features, target)
    )


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told by Linux alone")
def test_the_plain_side_holds_all_scores_and_ours_does_not():
    options = Loss(tokens=512, types=20_000, dim=16)
    scores = 4 * options.tokens * options.types  # bytes
    assert output_layer._in_a_process("plain", options).memory > scores
    assert output_layer._in_a_process("ours", options).memory < scores

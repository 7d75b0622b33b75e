"""The output layer beside a plain product; no test looks at a time."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from scripts.lab.benchmarks import output_layer
from scripts.lab.benchmarks.output_layer import (
    CUT,
    LIGER,
    OURS,
    PACKAGES,
    PLAIN,
    Loss,
    Sizes,
    loss,
)
from tiednmt.errors import UserError
from tiednmt.modules import OutputLayer


@pytest.mark.gpu
@pytest.mark.parametrize("side", [PLAIN, LIGER, CUT])
def test_all_sides_do_the_same_work(side):
    """Those of a GPU there (scripts/gpu.sh check), where they are installed."""
    if side in PACKAGES:
        pytest.importorskip(PACKAGES[side])
    if side in PACKAGES and not torch.cuda.is_available():
        pytest.skip("a GPU's kernels")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(1)
    dtype = torch.bfloat16 if side == CUT else torch.float32  # which it does not take
    layer = OutputLayer(nn.Embedding(130, 64)).to(device, dtype)
    features = torch.randn(200, 64, device=device, dtype=dtype, requires_grad=True)
    target = torch.randint(1, 130, (200,), device=device)  # padding too
    losses = [loss(one, layer, features, target) for one in (OURS, side)]
    wanted = (features, layer.embedding.weight)
    gradients = [torch.autograd.grad(one, wanted) for one in losses]
    rounding = 1e-3 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(*(one.float() for one in losses), rtol=rounding, atol=0)
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours - theirs).norm() < rounding * ours.norm()


def test_bfloat16_is_what_is_multiplied(monkeypatch):
    given = []
    monkeypatch.setattr(
        output_layer,
        "loss",
        lambda _, layer, features, target: (
            given.append((layer.embedding.weight.dtype, features.dtype)) or features.float().sum()
        ),
    )
    for dtype in ("float32", "bfloat16"):
        output_layer.measure_side(PLAIN, Sizes(8, 30, 4, dtype))
    assert given[1] == (torch.float32,) * 2 and given[-1] == (torch.bfloat16,) * 2


def test_a_kernel_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(output_layer, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="--against liger: pip install liger-kernel"):
        Loss(against=LIGER)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told by Linux alone")
def test_the_plain_side_holds_all_scores_and_ours_does_not():
    options = Loss(tokens=512, vocabulary=20_000, dim=16)
    scores = 4 * options.tokens * options.vocabulary  # bytes
    assert output_layer._measured("plain", options).memory > scores
    assert output_layer._measured("ours", options).memory < scores

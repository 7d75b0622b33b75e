"""Dropout: what it keeps, how often, and that a seed repeats it."""

import pytest
import torch

from tiednmt.modules.dropout import dropout

pytestmark = pytest.mark.usefixtures("cpu_path")

SIZE = (1001, 1003)  # no multiple of the elements that share a random number


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_share_and_scale(rate):
    torch.manual_seed(1)
    dropped = dropout(torch.ones(SIZE), rate)
    count = dropped.numel()
    zeros = (dropped == 0).sum().item()
    assert zeros == pytest.approx(rate * count, abs=5 * (count * rate * (1 - rate)) ** 0.5)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])


def test_neighbours_are_independent():
    torch.manual_seed(2)
    kept = dropout(torch.ones(SIZE), 0.5).ne(0).flatten().float()
    for distance in range(1, 9):
        both = (kept[distance:] * kept[:-distance]).mean().item()
        assert both == pytest.approx(0.25, abs=0.003), distance


def test_the_gradient_passes_where_the_value_did():
    ones = torch.ones(50, requires_grad=True)
    dropped = dropout(ones, 0.3)
    dropped.sum().backward()
    assert torch.equal(ones.grad, dropped.detach())


def test_a_seed_repeats_it_and_another_call_does_not():
    masks = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        masks.append([dropout(torch.ones(100), 0.5) for _ in range(2)])
    assert torch.equal(masks[0][0], masks[1][0])
    assert torch.equal(masks[0][1], masks[1][1])
    assert not torch.equal(masks[0][0], masks[0][1])
    assert not torch.equal(masks[0][0], masks[2][0])


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_types_are_kept(kind):
    assert dropout(torch.ones(7, 3, dtype=kind), 0.5).dtype == kind


def test_nothing_in_evaluation():
    values = torch.randn(9)
    assert torch.equal(dropout(values, 0.5, training=False), values)

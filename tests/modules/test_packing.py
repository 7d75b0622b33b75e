"""Batches as rows without padding."""

import torch

from tiednmt.modules.packing import Packing

PADDING = torch.tensor([[0, 0, 0], [0, 1, 1], [0, 0, 1]], dtype=torch.bool)


def test_rows_are_those_of_tokens():
    packing = Packing(PADDING)
    batch = torch.randn(3, 3, 2)
    rows = packing.rows(batch)
    assert torch.equal(rows, batch[~PADDING])
    assert torch.equal(packing.padded(rows), batch * ~PADDING.unsqueeze(2))
    assert packing.positions.tolist() == [0, 1, 2, 0, 0, 1]
    assert torch.equal(packing.rows(torch.arange(9).view(3, 3)), torch.tensor([0, 1, 2, 3, 6, 7]))
    assert torch.equal(packing.mask[:, 0, 0], ~PADDING)


def test_a_batch_without_padding_is_its_rows():
    packing = Packing(torch.zeros(2, 3, dtype=torch.bool))
    batch = torch.randn(2, 3, 4)
    assert packing.rows(batch).data_ptr() == batch.data_ptr()
    assert torch.equal(packing.padded(packing.rows(batch)), batch)
    assert packing.positions.tolist() == [0, 1, 2, 0, 1, 2]
    assert packing.mask is None


def test_gradients_go_to_tokens_alone():
    packing = Packing(PADDING)
    batch = torch.randn(3, 3, 2, requires_grad=True)
    packing.padded(2 * packing.rows(batch)).sum().backward()
    assert torch.equal(batch.grad, 2.0 * ~PADDING.unsqueeze(2).expand(3, 3, 2))

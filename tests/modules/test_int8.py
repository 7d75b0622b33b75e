"""Products of 8 bits against exact ones."""

import torch

from tiednmt.modules.int8 import Int8Linear


def test_close_to_the_exact_product():
    torch.manual_seed(1)
    exact = torch.nn.Linear(64, 50)
    features = torch.randn(4, 3, 64)
    error = Int8Linear(exact.weight, exact.bias)(features) - exact(features)
    assert error.shape == (4, 3, 50)
    assert 0 < error.norm() < 0.02 * exact(features).norm()


def test_whole_numbers_are_exact():
    weight = torch.tensor([[127.0, -1.0, 4.0], [-127.0, 0.0, 64.0]])
    features = torch.tensor([[127.0, 5.0, -3.0], [0.0, 0.0, 0.0]])
    result = Int8Linear(weight, torch.tensor([0.5, -2.0]))(features)
    torch.testing.assert_close(result, features @ weight.t() + torch.tensor([0.5, -2.0]))


def test_a_row_depends_on_no_other():
    torch.manual_seed(2)
    layer, features = Int8Linear(torch.randn(20, 16)), torch.randn(6, 16)
    alone = torch.cat([layer(row) for row in features.split(1)])
    features[-1] *= 1000
    assert torch.equal(layer(features)[:-1], alone[:-1])


def test_nothing_of_it_is_saved():
    assert not Int8Linear(torch.randn(3, 4)).state_dict()

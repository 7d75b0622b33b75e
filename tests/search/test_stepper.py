"""Trees of memory and state."""

import torch

from tiednmt.search.stepper import Shared, follow, keep


def test_hypotheses_take_their_own_state_along_and_leave_what_they_share():
    own, shared = torch.arange(24).view(2, 3, 4), torch.arange(10).view(2, 5)
    state = (own, {"kept": Shared([shared, None])})
    parents = torch.tensor([[2, 2], [0, 1]])
    moved = follow(state, parents)
    assert torch.equal(moved[0], torch.stack((own[0, [2, 2]], own[1, [0, 1]])))
    assert moved[1]["kept"].tree[0] is shared
    second = keep(state, torch.tensor([1]))
    assert torch.equal(second[0], own[1:])
    assert isinstance(second[1]["kept"], Shared)
    assert torch.equal(second[1]["kept"].tree[0], shared[1:])

"""What is said of the difference of two systems."""

import pytest

from tiednmt.metrics import loss


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        (0.304, "0.30"),
        (-0.304, "better by 0.30"),
        (0.0, "0.00"),
        (-0.0, "0.00"),
        (0.004, "0.00"),
        (-0.004, "0.00"),
        (-0.006, "better by 0.01"),
    ],
)
def test_the_bound_of_a_difference(bound, said):
    assert loss(bound) == said

"""What is said of the difference of two systems."""

import pytest

from tiednmt.metrics import loss, signed, signed_interval


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


def test_a_difference_of_zero_has_one_sign():
    assert [signed(x) for x in (0.004, 0.0, -0.0, -0.004, -0.006)] == ["+0.00"] * 4 + ["-0.01"]
    assert signed_interval((-0.001, 1.0)) == "+0.00 to +1.00"

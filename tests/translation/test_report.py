"""Tables for a terminal."""

import pytest

from tiednmt.translation.report import columns


@pytest.mark.parametrize("left", [0, 1, 2])
def test_columns(left):
    head, line = columns(["a", "long", "c"], [["x", "1", "22"]], left=left).splitlines()
    assert head == ("a  long   c")
    assert line == ("x  1     22" if left == 2 else "x     1  22")

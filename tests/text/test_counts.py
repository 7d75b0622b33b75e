"""Files of words or units and their counts."""

import pytest

from tiednmt.errors import UserError
from tiednmt.text.counts import ranked, read_counts, write_counts


def test_counts_are_read_as_they_were_written(tmp_path):
    counts = [("der", 7), ("#version:", 3), ("\u2028", 2), ("0", 0)]
    write_counts(tmp_path / "vocab.de", counts)
    assert list(read_counts(tmp_path / "vocab.de")) == counts


def test_empty_lines_are_skipped(tmp_path):
    (tmp_path / "vocab.de").write_text("der 7\n\ndie 6\n\n")
    assert dict(read_counts(tmp_path / "vocab.de")) == {"der": 7, "die": 6}


@pytest.mark.parametrize("line", ["der", "der sieben", " 7", "der 7 ", "der -7"])
def test_a_line_without_a_unit_and_its_count_is_named(tmp_path, line):
    (tmp_path / "vocab.de").write_text(f"die 6\n{line}\n")
    with pytest.raises(UserError, match=r"vocab\.de, line 2: damaged"):
        list(read_counts(tmp_path / "vocab.de"))


def test_the_most_frequent_come_first_and_equal_ones_by_name():
    assert ranked({"b": 1, "c": 9, "a": 1}) == [("c", 9), ("a", 1), ("b", 1)]

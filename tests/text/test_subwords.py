"""How pieces of sentencepiece are taken apart."""

import pytest

from tiednmt.text.subwords import halves, merge_ranks, split_piece

PIECES = ["<unk>", "ab", "▁a", "cd", "abc", "▁ab", "abcd", "▁", "a", "b", "c", "d"]
RANKS = merge_ranks(PIECES)


def test_characters_are_there_before_all_merges():
    assert {RANKS[piece] for piece in PIECES if len(piece) == 1} == {0}
    assert RANKS["ab"] < RANKS["cd"] < RANKS["abcd"]


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        ("abcd", ("ab", "cd")),  # and not "abc", "d", which is there only later
        ("abc", ("ab", "c")),
        ("▁ab", ("▁", "ab")),
        ("ab", ("a", "b")),
        ("a", None),
        ("xyz", None),
    ],
)
def test_halves_are_those_that_were_merged_first(piece, expected):
    assert halves(piece, RANKS) == expected


@pytest.mark.parametrize(
    ("piece", "kept", "expected"),
    [
        ("abcd", {"abcd"}, ["abcd"]),
        ("abcd", {"abc", "cd"}, ["a", "b", "cd"]),
        ("abcd", (), ["a", "b", "c", "d"]),
        ("xyz", (), ["x", "y", "z"]),
    ],
)
def test_a_piece_is_split_until_all_parts_are_kept_or_characters(piece, kept, expected):
    assert split_piece(piece, RANKS, kept) == expected

import pytest

from tiednmt.text.writing import mostly_unspaced, visible, words


@pytest.mark.parametrize(
    ("line", "estimate"),
    [
        ("", 0),
        ("  ", 0),
        ("The dog 's hat .", 5),
        ("Собака видит , да", 4),
        ("안녕하세요 세계", 2),  # Korean has spaces
        ("昨日学校へ行った", 4),
        ("2024年10月 NASA の", 4.5),
        ("สวัสดีครับ", 2.5),
        ("猫", 1),
    ],
)
def test_words_are_estimated_where_there_are_no_spaces(line, estimate):
    assert words(line) == estimate


@pytest.mark.parametrize(
    ("line", "seen"), [("", False), (" \u200b\u00ad\ufeff", False), ("\u200ba", True), (".", True)]
)
def test_what_can_be_seen(line, seen):
    assert visible(line) == seen


@pytest.mark.parametrize(
    ("line", "unspaced"),
    [("the cat", False), ("猫 says", False), ("猫が見る NA", True), ("", False)],
)
def test_lines_without_spaces(line, unspaced):
    assert mostly_unspaced(line) == unspaced

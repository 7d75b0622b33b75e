import pytest

from preprocess.filters import SCRIPTS, Filters, written_in
from preprocess.letters import NAMES
from tiednmt.errors import UserError


@pytest.mark.parametrize(
    ("line", "latin"),
    [
        ("Ein Hund .", True),
        ("Œuvre d' été", True),
        ("Собака", False),
        ("Ein Собака", False),  # three letters of nine
        ("Hunde Собак", True),  # half
        ("狗", False),
        ("3,000 : 25 %", True),  # nothing that speaks against it
        ("", True),
        ("ＡＢＣ 犬", True),
        ("1ª µ", True),  # half
    ],
)
def test_at_least_half_of_the_letters_are_of_the_script(line, latin):
    assert written_in(("Latin",), line) == latin


@pytest.mark.parametrize(
    ("pair", "fault"),
    [
        (("a b", "c"), None),
        (("", "c"), "empty"),
        (("a", " "), "empty"),
        (("a a a a a", "c c c c"), "over_long"),
        (("a a a a", "c"), "ratio"),
        (("a a a", "c"), None),
        (("a", "Собака"), "script"),
        (("Собака", "a"), "script"),
    ],
)
def test_the_first_fault_of_a_pair(pair, fault):
    filters = Filters(max_length=4, max_ratio=3, languages=("en", "de"))
    assert filters.fault(pair) == fault
    assert fault is None or fault in filters.reasons


def test_scripts_are_looked_at_only_when_asked():
    filters = Filters(max_length=4, max_ratio=3)
    assert filters.fault(("a", "Собака")) is None
    assert "script" not in filters.reasons


def test_an_unknown_script():
    with pytest.raises(UserError, match="--check-script: the script of xx is not known"):
        Filters(4, 3, ("en", "xx"))


def test_the_script_of_every_language_is_one_that_letters_are_told_by():
    assert {script for scripts in SCRIPTS.values() for script in scripts} <= {*NAMES.split()}

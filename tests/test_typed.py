"""Dataclasses from JSON and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from tiednmt.typed import Fault, from_json, to_json


@dataclass(frozen=True)
class Part:
    name: str
    size: float
    pair: tuple[int, int]
    note: str | None = None

    def __post_init__(self):
        if self.size < 0:
            raise Fault("is below zero", "size")


@dataclass(frozen=True)
class Whole:
    parts: Sequence[Part]
    by_name: Mapping[str, Part | None]
    value: str | int | Sequence[int]
    there: bool = False


PART = {"name": "a", "size": 3, "pair": [1, 2]}
WHOLE = {"parts": [PART], "by_name": {"b": PART, "c": None}, "value": [1, 2]}


def test_there_and_back():
    whole = from_json(Whole, WHOLE)
    part = Part("a", 3, (1, 2))
    assert whole == Whole((part,), {"b": part, "c": None}, (1, 2))
    assert to_json(whole) == WHOLE
    assert from_json(Whole, to_json(whole)) == whole


def test_whole_numbers_stay_whole():
    assert type(from_json(float, 3)) is int


@pytest.mark.parametrize(
    ("keys", "value", "fault"),
    [
        (["parts"], {}, "parts must be a list"),
        (["parts", 0], [], "parts[0] must be a mapping (name: value)"),
        (["parts", 0, "name"], 3, "parts[0].name is 3, not text"),
        (["parts", 0, "name"], None, "parts[0].name is None, not text"),
        (["parts", 0, "size"], float("nan"), "parts[0].size is nan, not a finite number"),
        (["parts", 0, "size"], True, "parts[0].size is True, not a finite number"),
        (["parts", 0, "size"], -1, "parts[0].size is below zero"),
        (["parts", 0, "pair"], [1], "parts[0].pair must be a list of 2"),
        (["parts", 0, "pair"], [1, 2.5], "parts[0].pair[1] is 2.5, not a whole number"),
        (["parts", 0, "colour"], "red", "parts[0] has colour, which is not known"),
        (["by_name", "b", "note"], 1, "by_name.b.note is 1, not text"),
        (["value"], {}, "value is {}, not text"),
        (["there"], 1, "there is 1, not true or false"),
        (["more"], 1, "it has more, which is not known"),
    ],
)
def test_fault_and_its_place(keys, value, fault):
    whole = part = {
        "parts": [dict(PART)],
        "by_name": {"b": dict(PART), "c": None},
        "value": 1,
    }
    *way, last = keys
    for key in way:
        part = part[key]
    part[last] = value
    with pytest.raises(Fault) as raised:
        from_json(Whole, whole)
    assert str(raised.value) == fault


def test_what_is_missing():
    with pytest.raises(Fault, match=r"^it lacks value$"):
        from_json(Whole, {"parts": [], "by_name": {}})

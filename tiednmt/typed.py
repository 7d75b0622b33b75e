"""Dataclasses from JSON and back, every value checked on the way."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


class Fault(ValueError):
    """A wrong value: where it is and what is wrong, as in ``rows[1].parameters is 'many'``."""

    def __init__(self, what: str, place: str = "") -> None:
        super().__init__(f"{place} {what}".strip())
        self.what, self.place = what, place

    def within(self, place: str) -> Fault:
        """The same fault, seen from ``place``, which contains the value."""
        return Fault(self.what, _joined(place, self.place) if self.place else place)


def to_json(value: Any) -> Any:
    """The value in the types of JSON, for :func:`from_json`; without fields at their default."""
    if dataclasses.is_dataclass(value):
        return {
            field.name: to_json(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if getattr(value, field.name) != field.default
        }
    if isinstance(value, Mapping):
        return {key: to_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    return value


def from_json(shape: Any, value: Any, place: str = "") -> Any:
    """``value``, as ``json`` reads it, as a value of the type ``shape``.

    A shape is a dataclass, ``Mapping[str, …]``, ``Sequence[…]`` (which becomes a tuple), a
    ``tuple`` of as many types as the list must have values, ``str``, ``bool``, ``int``, ``float``,
    or a union of these. A whole number is a ``float`` too and stays whole.

    Raises:
        Fault: it is none, or a number that is not finite.
    """
    origin = get_origin(shape)
    if dataclasses.is_dataclass(shape):
        return _object(shape, value, place)
    if origin in (Union, UnionType):
        return _one_of(get_args(shape), value, place)
    if origin is Mapping:
        _require(value, dict, _MAPPING, place)
        of_each = get_args(shape)[1]
        return {key: from_json(of_each, one, _joined(place, key)) for key, one in value.items()}
    if origin in (Sequence, tuple):
        return _list(shape, value, place)
    return _scalar(shape, value, place)


def _object(shape: Any, value: Any, place: str) -> Any:
    _require(value, dict, _MAPPING, place)
    types = get_type_hints(shape)
    fields = {field.name: field for field in dataclasses.fields(shape)}
    for name in value:
        if name not in fields:
            raise Fault(f"has {name}, which is not known", place or "it")
    given = {}
    for name, field in fields.items():
        if name in value:
            given[name] = from_json(types[name], value[name], _joined(place, name))
        elif field.default is dataclasses.MISSING:
            raise Fault(f"lacks {name}", place or "it")
    try:
        return shape(**given)
    except Fault as fault:
        raise fault.within(place) from None


def _one_of(shapes: Sequence[Any], value: Any, place: str) -> Any:
    if value is None and NoneType in shapes:
        return None
    faults = []
    for shape in shapes:
        try:
            return from_json(shape, value, place)
        except Fault as fault:
            faults.append(fault)
    raise faults[0]


def _list(shape: Any, value: Any, place: str) -> tuple[Any, ...]:
    _require(value, list, "must be a list", place)
    shapes = get_args(shape)
    if get_origin(shape) is Sequence:
        shapes *= len(value)
    elif len(value) != len(shapes):
        raise Fault(f"must be a list of {len(shapes)}", place)
    pairs = enumerate(zip(shapes, value, strict=True))
    return tuple(from_json(one, part, f"{place}[{i}]") for i, (one, part) in pairs)


def _scalar(shape: type, value: Any, place: str) -> Any:
    numbers = (int, float) if shape is float else (shape,)
    is_it = isinstance(value, numbers) and isinstance(value, bool) == (shape is bool)
    if not is_it or (isinstance(value, float) and not math.isfinite(value)):
        raise Fault(f"is {value!r:.40}, not {_SCALARS.get(shape, 'that')}", place)
    return value


_MAPPING = "must be a mapping (name: value)"
_SCALARS = {str: "text", bool: "true or false", int: "a whole number", float: "a finite number"}


def _require(value: Any, kind: type, otherwise: str, place: str) -> None:
    if not isinstance(value, kind):
        raise Fault(otherwise, place or "it")


def _joined(place: str, name: str) -> str:
    return f"{place}.{name}" if place and not name.startswith("[") else place + name

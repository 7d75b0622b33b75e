"""JSON from a file that may hold anything, and whether it has the shape it should have."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiednmt.errors import UserError

NUMBER = int | float


@dataclass(frozen=True)
class Each:
    """A mapping whose keys are free; every value has ``shape``."""

    shape: Any


@dataclass(frozen=True)
class Maybe:
    """What may be missing from an object or null, but has ``shape`` where it is there."""

    shape: Any


@dataclass(frozen=True)
class Filled:
    """A list of ``shape`` that is not empty."""

    shape: Any


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        UserError: it is missing, or not JSON in UTF-8.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON, cut short or damaged ({error})") from error


def fault(value: Any, shape: Any, where: str = "") -> str | None:
    """What sets ``value`` apart from ``shape``, with its place; None where it fits.

    A shape is a type or a union of types, a dict of the keys that must be there, :class:`Each`, a
    list of one shape for a list of any length, :class:`Filled`, or a tuple of as many shapes as a
    list must have values. Numbers must be finite.
    """
    if isinstance(shape, dict | Each):
        return _fault_of_object(value, shape, where)
    if isinstance(shape, list | Filled | tuple):
        return _fault_of_list(value, shape, where)
    wrong = isinstance(value, bool) != (shape is bool) or not isinstance(value, shape)
    if wrong or (isinstance(value, float) and not math.isfinite(value)):
        return f"{where} is {value!r:.40}"
    return None


def _fault_of_object(value: Any, shape: dict[str, Any] | Each, where: str) -> str | None:
    if not isinstance(value, dict):
        return f"{where or 'it'} is no object"
    if isinstance(shape, Each):
        shape = dict.fromkeys(value, shape.shape)
    for key, part in shape.items():
        place = f"{where}.{key}".lstrip(".")
        if isinstance(part, Maybe):
            found = None if value.get(key) is None else fault(value[key], part.shape, place)
        elif key in value:
            found = fault(value[key], part, place)
        else:
            found = f"{where or 'it'} lacks {key}"
        if found:
            return found
    return None


def _fault_of_list(
    value: Any, shape: list[Any] | Filled | tuple[Any, ...], where: str
) -> str | None:
    if not isinstance(value, list):
        return f"{where} is no list"
    if isinstance(shape, Filled) and not value:
        return f"{where} is empty"
    if isinstance(shape, tuple) and len(value) != len(shape):
        return f"{where} is no list of {len(shape)}"
    if isinstance(shape, Filled):
        shape = [shape.shape]
    shapes = shape if isinstance(shape, tuple) else shape * len(value)
    parts = enumerate(zip(value, shapes, strict=True))
    faults = (fault(part, of_part, f"{where}[{i}]") for i, (part, of_part) in parts)
    return next(filter(None, faults), None)

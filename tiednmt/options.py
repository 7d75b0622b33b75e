"""Options of a command from the fields of a dataclass, and a command line from its values.

A field ``max_tokens: int = 4000`` is the option ``--max-tokens N`` with that default. ``bool`` is a
flag, ``X | None`` may be left out, ``tuple[int, ...]`` takes several values. :func:`option` adds
what a field cannot say.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from tiednmt.errors import UserError

Options = TypeVar("Options")

_METAVARS: dict[type, str] = {Path: "PATH", str: "NAME"}


def option(
    help: str = "",
    *,
    default: Any = dataclasses.MISSING,
    type: Callable[[str], Any] | None = None,
    within: Range | None = None,
    choices: Sequence[str] | None = None,
    metavar: str | None = None,
    also: str | None = None,
    negatable: bool = False,
    repeated: bool = False,
    recorded: bool = True,
) -> Any:
    """A field of a dataclass of options.

    Args:
        help: shown by ``--help``, to which the default is added.
        default: without one the option is required.
        type: reads a value from the command line; by default the field's own type. A
            :class:`Range` also bounds it.
        within: bounds a number that ``type`` reads without bounds; :func:`require_ranges` checks.
        choices: the values allowed.
        metavar: what ``--help`` calls the value.
        also: another name of the option.
        negatable: give a flag ``--x`` its opposite ``--no-x``.
        repeated: of a tuple: the option is given once for each value.
        recorded: whether :func:`command_words` names it; what differs from machine to machine
            should not be.
    """
    metadata = {
        "help": help,
        "type": type,
        "within": within,
        "choices": choices,
        "metavar": metavar,
        "also": also,
        "negatable": negatable,
        "repeated": repeated,
        "recorded": recorded,
    }
    return dataclasses.field(default=default, metadata=metadata)


def number_field(default: Any, help: str, within: Range, **metadata: Any) -> Any:
    """A number among fairseq's options of a model, a criterion or a task.

    Args:
        default: a number, None, or another option that it is read from (:func:`omegaconf.II`).
        help: shown by ``--help``.
        within: bounds it; :func:`require_ranges` checks.
        metadata: what else fairseq reads of a field.
    """
    return dataclasses.field(default=default, metadata={"help": help, "within": within, **metadata})


def option_name(field: str) -> str:
    """``max_tokens`` → ``--max-tokens``."""
    return "--" + field.replace("_", "-")


def add_options(parser: argparse.ArgumentParser, options: type) -> None:
    """Give ``parser`` an option for each field of the dataclass ``options``."""
    types = get_type_hints(options)
    for field in dataclasses.fields(options):
        also = field.metadata.get("also")
        names = [option_name(field.name), *([also] if also else [])]
        parser.add_argument(*names, **_argument(field, types[field.name]))


def from_arguments(options: type[Options], args: argparse.Namespace) -> Options:
    """The dataclass with the values that its options were given.

    Raises:
        UserError: the dataclass refuses them.
    """
    values = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        value = getattr(args, field.name)
        if field.metadata.get("repeated") and value is None:
            value = field.default
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return options(**values)


def command_words(options: Any) -> list[str]:
    """The words of a command line that gives every option its value here."""
    words: list[str] = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if not field.metadata.get("recorded", True) or value in (None, False, ()):
            continue
        name, values = option_name(field.name), value if isinstance(value, tuple) else (value,)
        if value is True:
            words.append(name)
        elif field.metadata.get("repeated"):
            words += [word for each in values for word in (name, str(each))]
        else:
            words += [name, *map(str, values)]
    return words


class Range:
    """Reads a number of a range, both ends included, for argparse; never one that is no number."""

    def __init__(self, least: float, most: float, kind: Callable[[str], float] = int) -> None:
        self.least, self.most, self.kind = least, most, kind

    @property
    def noun(self) -> str:
        """What its numbers are called."""
        return "whole number" if self.kind is int else "number"

    def __str__(self) -> str:
        return f"from {self.least:,} to {self.most:,}"

    def __contains__(self, number: Any) -> bool:
        return bool(self.least <= number <= self.most)  # not NaN

    def fault(self, number: float) -> str | None:
        """Why a number is not in the range; None if it is."""
        if number in self:
            return None
        too_much = number > self.most
        return f"must be {self.most:,} or less" if too_much else f"must be {self.least:,} or more"

    def __call__(self, text: str) -> Any:
        """The number that ``text`` says; argparse's error where it is not in the range."""
        try:
            number = self.kind(text)
        except ValueError:
            fault: str | None = f"must be a {self.noun}"
        else:
            fault = self.fault(number)
        if fault:
            raise argparse.ArgumentTypeError(f"{text}: {fault}")
        return number


class _Rate(Range):
    """Reads a probability below 1."""

    def __contains__(self, number: Any) -> bool:
        return bool(0 <= number < 1)

    def fault(self, number: float) -> str | None:
        """See :meth:`Range.fault`."""
        return None if number in self else "must be from 0 to below 1"


positive = Range(1, 10**9)
natural = Range(0, 10**9)
not_negative = Range(0, 10**9, float)
rate = _Rate(0, 1, float)
seed = Range(0, 2**32 - 1)


def language_pair(text: str) -> tuple[str, str]:
    """The value of ``--pair``, as ``en-cs``: source and target.

    Raises:
        UserError: it has another form.
    """
    source, dash, target = text.partition("-")
    if not (source and dash and target):
        raise UserError(f"--pair {text}: write it as en-cs")
    return two_languages(source, target, f"--pair {text}: ")


def two_languages(source: str, target: str, lead: str = "") -> tuple[str, str]:
    """The codes of a source and a target, which name files.

    Raises:
        UserError: one is no code, or they are equal; ``lead`` comes first.
    """
    for code in (source, target):
        language_code(code, f"{lead}language ")
    if source == target:
        raise UserError(
            f"{lead}{source} to {target}: files are told apart by their languages; give one side"
            f" another code, such as {source}_simple"
        )
    return source, target


_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def language_code(code: str, lead: str = "") -> str:
    """A code that fairseq takes.

    Raises:
        UserError: it is none; ``lead`` comes first.
    """
    if not _CODE.fullmatch(code):
        raise UserError(f"{lead}{code!r}: fairseq takes letters, digits and _, such as en or pt_BR")
    return code


def require_ranges(options: Any, declared: type | None = None) -> None:
    """Refuse values of options that are not in the :class:`Range` of their option.

    Args:
        options: a dataclass, or fairseq's options.
        declared: the dataclass that declares fairseq's.

    Raises:
        UserError: naming the option and its range.
    """
    fields = dataclasses.fields(declared or options)
    # an option that reads its value from another is not the one that was given
    for field in sorted(fields, key=lambda field: isinstance(field.default, str)):
        allowed = field.metadata.get("within") or field.metadata.get("type")
        if not isinstance(allowed, Range):
            continue
        values = getattr(options, field.name, field.default)
        for value in values if isinstance(values, tuple) else (values,):
            if value is None and field.default in (None, dataclasses.MISSING):
                continue
            kind = Integral if allowed.kind is int else Real
            is_one = isinstance(value, kind) and not isinstance(value, bool)
            fault = allowed.fault(value) if is_one else f"must be a {allowed.noun}"
            if fault:
                shown = value if is_one else repr(value)
                raise UserError(f"{option_name(field.name)} {shown}: {fault}")


def _argument(field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    """The keyword arguments of ``add_argument`` for a field of the type ``hint``."""
    metadata = field.metadata
    required = field.default is dataclasses.MISSING
    help = metadata.get("help", "")
    if hint is bool:
        return _flag(field, help)
    kind = next(part for part in get_args(hint) or (hint,) if part is not NoneType)
    if kind in (int, float) and metadata.get("type") is metadata.get("within") is None:
        raise TypeError(f"{option_name(field.name)}: a number needs a Range for its type")
    choices = metadata.get("choices")
    argument = {
        "type": metadata.get("type") or kind,
        "choices": choices,
        "metavar": metadata.get("metavar") or (None if choices else _METAVARS.get(kind, "N")),
        "help": help if required else _with_default(help, field.default),
    }
    if metadata.get("repeated"):
        return {**argument, "action": "append", "required": required}
    if get_origin(hint) is tuple:
        argument |= {"nargs": "+", "action": _Extend}
    return {**argument, "required": True} if required else {**argument, "default": field.default}


class _Extend(argparse.Action):
    """Takes several values, and more of them where its option is given again."""

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option: object = None
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*(() if before is self.default else before), *values])


def _flag(field: dataclasses.Field[Any], help: str) -> dict[str, Any]:
    if not field.metadata.get("negatable"):
        return {"action": "store_true", "help": help}
    name = option_name(field.name)
    shown = name if field.default else f"--no-{name[2:]}"
    return {
        "action": argparse.BooleanOptionalAction,
        "default": field.default,
        "help": f"{help} (default: {shown})",
    }


def _with_default(help: str, default: Any) -> str:
    if default in (None, (), ""):
        return help
    # argparse puts in a single value, which a command may have changed by then
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else None
    end = "%(default)s" if shown is None else shown.replace("%", "%%")
    return f"{help.replace('%', '%%')} (default: {end})".lstrip()

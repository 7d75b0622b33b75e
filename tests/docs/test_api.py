"""Everything that docs/api.md and docs/records.md show has a docstring that is its own.

Each ``::: NAME`` of a page is a module, a class or a function. Of a module its public classes and
functions are shown, or those that ``members`` names; of a class its public methods and properties.
"""

import dataclasses
import inspect
import re
from importlib import import_module
from types import FunctionType, ModuleType

import pytest

import tiednmt
import tiednmt.plugin
from scripts.lab.run.specs import ROOT

SHOWN = re.compile(r"^::: (\S+)\n((?:    .*\n)*)", re.MULTILINE)
MEMBERS = re.compile(r"members: \[(.*)\]")
# an argument of a docstring: its name, what it is
ARGUMENT = re.compile(r"^ {4}(\*{0,2}\w+)(?: \(.*\))?: ", re.MULTILINE)


def shown_on(page):
    """The names that a page shows → what they are of."""
    for name, options in SHOWN.findall((ROOT / "docs" / page).read_text() + "\n"):
        thing = resolved(name)
        yield name, thing
        if not isinstance(thing, ModuleType):
            continue
        listed = MEMBERS.search(options)
        for member in re.split(r",\s*", listed[1]) if listed else public(thing):
            yield f"{name}.{member}", getattr(thing, member)


def resolved(name):
    try:
        return import_module(name)
    except ModuleNotFoundError:
        of, _, last = name.rpartition(".")
        return getattr(import_module(of), last)


def public(module):
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and isinstance(thing, type | FunctionType)
        and thing.__module__ == module.__name__
    ]


def with_methods(named):
    """And the public methods and properties of the classes among them, as written there."""
    for name, thing in named:
        yield name, thing
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                if isinstance(value, staticmethod | classmethod):
                    value = value.__func__
                if not member.startswith("_") and isinstance(value, FunctionType | property):
                    yield f"{name}.{member}", value


API = dict(with_methods(shown_on("api.md")))
EVERY = {**API, **dict(with_methods(shown_on("records.md")))}


def test_the_page_shows_what_one_imports():
    assert {"tiednmt.load", "tiednmt.tying.build_embeddings"} <= API.keys()
    assert [name for name in public(tiednmt) if f"tiednmt.{name}" not in API] == []
    assert len(EVERY) > 150


@pytest.mark.parametrize("name", EVERY)
def test_what_the_pages_show_has_a_docstring(name):
    thing = EVERY[name]
    text = thing.__doc__ or ""
    made = dataclasses.is_dataclass(thing) and text.startswith(f"{thing.__name__}(")
    assert text.strip() and not made


def fields(thing):
    """Of a dataclass or named tuple, without options, whose help the page of options shows."""
    if dataclasses.is_dataclass(thing):
        own = vars(thing).get("__annotations__", {})
        return [f.name for f in dataclasses.fields(thing) if f.name in own and not f.metadata]
    return getattr(thing, "_fields", ())


@pytest.mark.parametrize("name", [n for n, thing in EVERY.items() if inspect.isclass(thing)])
def test_fields_are_described(name):
    words = {*re.findall(r"\w+", EVERY[name].__doc__)}
    assert [field for field in fields(EVERY[name]) if field[0] != "_" and field not in words] == []


@pytest.mark.parametrize(
    "name", [n for n, thing in EVERY.items() if isinstance(thing, FunctionType)]
)
def test_arguments_of_a_docstring_are_those_of_the_function(name):
    text = inspect.cleandoc(EVERY[name].__doc__ or "")
    section = re.search(r"^Args:\n((?: .*\n?|\n)+)", text, re.MULTILINE)
    told = {each.lstrip("*") for each in ARGUMENT.findall(section[1])} if section else set()
    assert told <= inspect.signature(EVERY[name]).parameters.keys()

"""The options of every command as Markdown tables, read from the parsers themselves."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cache
from importlib import import_module
from typing import get_type_hints
from unittest.mock import patch

from scripts.lab.run.specs import ROOT
from tiednmt.cli import COMMANDS
from tiednmt.show import markdown
from tiednmt.show.figures import Table

SHARED = "models"  # the options of every model
MOST_CHOICES = 8  # that a table lists
Rows = list[list[str]]
_METAVARS = {"int": "N", "float": "X", "positive": "N", "Path": "PATH"}


class _Parsed(BaseException):
    """Carries the parser that a command was about to use; no command catches it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def parser_of(module: str) -> argparse.ArgumentParser:
    """The parser of a command, given its module: ``scripts.report``, ``preprocess.ptb``."""

    def parse(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Parsed(self)

    main = import_module(module).main
    with (
        patch.object(argparse.ArgumentParser, "parse_args", parse),
        patch.object(argparse.ArgumentParser, "parse_known_args", parse),
        patch("signal.signal"),
    ):
        try:
            main()
        except _Parsed as parsed:
            return parsed.parser
    raise AssertionError(f"{module} parses no command line")


def command_modules() -> dict[str, str]:
    """Commands as typed → their modules: ``python -m scripts.report`` → ``scripts.report``."""
    ours = {f"tiednmt {name}": f"tiednmt.commands.{name}" for name in COMMANDS if name != "path"}
    for folder in ("scripts", "preprocess"):
        names = [
            path.stem
            for path in (ROOT / folder).glob("*.py")
            if _is_command(path.read_text(encoding="utf-8"))
        ]
        names += [path.parent.name for path in (ROOT / folder).glob("*/__main__.py")]
        ours |= {f"python -m {folder}.{name}": f"{folder}.{name}" for name in sorted(names)}
    return ours


def _is_command(code: str) -> bool:
    return bool(re.search(r"^    main\(", code, re.MULTILINE))


def table(name: str) -> str:
    """The options of a model, criterion, task, optimizer or scheduler, or of a family of commands.

    ``models`` are the options that every model has. ``tiednmt``, ``scripts`` and ``preprocess``
    have a section per command.
    """
    if name in ("tiednmt", "scripts", "preprocess"):
        return "\n\n".join(_commands(name))
    return _table(_registered(name)) + "\n"


def _commands(family: str) -> Iterator[str]:
    whole: dict[str, Rows] = {}  # the commands with a whole table, so far
    for title, module, rows in _rows_of_commands():
        like, others = _most_alike(rows, whole)
        if not like:
            whole[title] = rows
        if module.split(".")[0] == family:
            yield f"### `{title}`\n\n{_table_beside(like, others)}\n"


@cache
def _rows_of_commands() -> list[tuple[str, str, Rows]]:
    """For every command with options: what one types, its module and the rows of its table."""
    found = [
        (title, module, _rows(list(actions(parser))))
        for command, module in command_modules().items()
        for title, parser in with_subcommands(command, parser_of(module))
    ]
    return [each for each in found if each[2]]


def _most_alike(rows: Rows, tables: dict[str, Rows]) -> tuple[str, Rows]:
    """The command that shares most ``rows`` and has no others, and the rows that it lacks."""
    names = {row[0] for row in rows}
    others = {
        title: [row for row in rows if row not in table]
        for title, table in tables.items()
        if {row[0] for row in table} <= names
    }
    title = min(others, key=lambda one: len(others[one]), default="")
    if not title or 2 * len(others[title]) > len(rows):
        return "", rows
    return title, others[title]


def _table_beside(like: str, rows: Rows) -> str:
    if not like:
        return _table_of(rows)
    if not rows:
        return f"As `{like}`."
    return f"As `{like}`, but for these options and defaults:\n\n{_table_of(rows)}"


def with_subcommands(
    command: str, parser: argparse.ArgumentParser
) -> list[tuple[str, argparse.ArgumentParser]]:
    """The command itself, or each of its sub-commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return [(f"{command} {name}", sub) for name, sub in action.choices.items()]
    return [(command, parser)]


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments and options to list, without --help."""
    for action in parser._actions:
        if action.help != argparse.SUPPRESS and "--help" not in action.option_strings:
            yield action


def _registered(name: str) -> list[argparse.Action]:
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    import tiednmt.plugin  # noqa: F401
    from tiednmt.models.model_options import TiedModelConfig

    shared = {_key(action) for action in _of_dataclass(TiedModelConfig)}
    if name == SHARED:
        return _of_dataclass(TiedModelConfig)
    if name in MODEL_DATACLASS_REGISTRY:
        found = _of_dataclass(MODEL_DATACLASS_REGISTRY[name])
        return [action for action in found if _key(action) not in shared]
    tables = [TASK_DATACLASS_REGISTRY, *(of["dataclass_registry"] for of in REGISTRIES.values())]
    (config,) = (of[name] for of in tables if name in of)
    return _of_dataclass(config)


def _key(action: argparse.Action) -> tuple[str, str]:
    return action.dest, str(action.default)


def _of_dataclass(config: type) -> list[argparse.Action]:
    from fairseq.dataclass.utils import gen_parser_from_dataclass

    parser = argparse.ArgumentParser()
    gen_parser_from_dataclass(parser, config())
    types = get_type_hints(config)
    listed = [*actions(parser)]
    for action in listed:
        if action.type is None and action.nargs != 0:  # its default is another option's value
            action.type = types.get(action.dest)
    return listed


def _table(listed: Sequence[argparse.Action]) -> str:
    return _table_of(_rows(listed))


def _rows(listed: Sequence[argparse.Action]) -> Rows:
    return [[f"`{_form(action)}`", _default(action), _help(action)] for action in listed]


def _table_of(rows: Rows) -> str:
    return markdown.table(Table(["option", "default", "meaning"], rows, left=3))


def _form(action: argparse.Action) -> str:
    """``--beam N``, as one types it; of several names the first, of a switch both."""
    named = copy(action)
    named.metavar = action.metavar or _metavar(action)
    values = "" if action.nargs == 0 else argparse.HelpFormatter("")._format_args(named, "")
    switch = isinstance(action, argparse.BooleanOptionalAction)
    long = [name for name in action.option_strings if name.startswith("--")]
    names = long if switch else long[:1]
    return " ".join(filter(None, (", ".join(names), values)))


def _metavar(action: argparse.Action) -> str:
    choices = [*map(str, action.choices or ())]
    if 0 < len(choices) <= MOST_CHOICES:
        return "{" + ",".join(choices) + "}"
    if not action.option_strings:
        return action.dest
    return _METAVARS.get(getattr(action.type, "__name__", ""), "NAME")


def _default(action: argparse.Action) -> str:
    value = action.default
    if action.required and action.option_strings:  # an argument shows it by its form
        return "required"
    if isinstance(action, argparse.BooleanOptionalAction) and isinstance(value, bool):
        return f"`{action.option_strings[0 if value else -1]}`"
    if value is None or value is False or value in ("", argparse.SUPPRESS):
        return ""
    if not action.option_strings or (isinstance(value, list | tuple) and not value):
        return ""
    value = "python" if value == sys.executable else value  # which is elsewhere on each machine
    return f"`{' '.join(map(str, value)) if isinstance(value, list | tuple) else value}`"


def _help(action: argparse.Action) -> str:
    parts = {**vars(action), "prog": ""}
    text = (action.help or "") % parts if action.help else ""
    text = text.partition(" (default: ")[0] if _default(action) else text
    text = text.replace("BLUE", "BLEU")  # a misprint of fairseq's
    return text.replace("<", "&lt;").replace("*", r"\*")

"""Docstrings for the site: Markdown instead of the little reStructuredText that ours contain.

Markdown knows neither roles nor tables between rules. So roles become code, tables become those of
Markdown, and a double colon before a block becomes a colon.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

try:
    from griffe import Extension
except ImportError:  # the site's tools need Python 3.11
    Extension = object  # type: ignore[assignment, misc, unused-ignore]

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`(~?)([^`]+)`")
_RULE = re.compile(r"={3,}(?: +={3,})+")


def in_markdown(text: str) -> str:
    """A docstring without its roles, tables and double colons of reStructuredText."""
    text = _ROLE.sub(lambda role: f"`{role[2].rpartition('.')[2] if role[1] else role[2]}`", text)
    text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
    lines: list[str] = []
    for is_table, of in groupby(_by_table(text.split("\n")), key=lambda pair: pair[0]):
        block = [line for _, line in of]
        lines += _table(block) if is_table else block
    return "\n".join(lines)


def _by_table(lines: Sequence[str]) -> list[tuple[int, str]]:
    """Each line with the number of the table that it is in, or 0."""
    rules = [i for i, line in enumerate(lines) if _RULE.fullmatch(line.strip())]
    tables: dict[int, int] = {}
    while len(rules) > 1:
        # a table has a head between its first two rules, or none
        more = len(rules) > 2 and all(map(str.strip, lines[rules[1] : rules[2]]))
        end = rules[2 if more else 1]
        tables |= dict.fromkeys(range(rules[0], end + 1), rules[0] + 1)
        rules = [rule for rule in rules if rule > end]
    return [(tables.get(i, 0), line) for i, line in enumerate(lines)]


def _table(lines: Sequence[str]) -> list[str]:
    starts = [match.start() for match in re.finditer("=+", lines[0])]
    ends = [*starts[1:], None]

    def cells(line: str) -> str:
        parts = (line[start:end].strip() for start, end in zip(starts, ends, strict=True))
        return f"| {' | '.join(parts)} |"

    rules = [i for i, line in enumerate(lines) if _RULE.fullmatch(line.strip())]
    head = lines[1 : rules[1]] if len(rules) > 2 else [""]
    body = lines[rules[-2] + 1 : rules[-1]]
    return [*map(cells, head), "|" + " --- |" * len(starts), *map(cells, body)]


class Markdown(Extension):  # type: ignore[misc, unused-ignore]
    """Makes Markdown of every docstring that griffe reads for the site."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring of one module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = in_markdown(obj.docstring.value)

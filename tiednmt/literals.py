"""Values written as text, read without running them, where fairseq would call ``eval``."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from tiednmt.errors import UserError

_MOST_ITEMS = 10_000  # of a list that is repeated; fairseq's own defaults have some tens
_LARGEST = 10**18
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def value_of(text: Any, *_: Any) -> Any:
    """The value of a Python literal: numbers, strings, tuples, lists, sets, dicts.

    Sums, products and repetitions of literals are allowed too, as in ``[(512, 3)] * 20``, which is
    a default of fairseq's. The further arguments of ``eval`` are ignored.

    Raises:
        UserError: the text is something else, or a list too long to be meant.
        TypeError: ``text`` is not text; ``eval`` raises that too, and fairseq relies on it.
    """
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no text")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (ValueError, SyntaxError, TypeError, ArithmeticError, RecursionError, MemoryError):
        shown = text if len(text) <= 60 else f"{text[:60]}…"
        raise UserError(f"{shown!r}: neither a number nor a list of them; it is not run") from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left), _value(node.right)
        for one, other in ((left, right), (right, left)):
            if isinstance(one, list | tuple | str | bytes) and isinstance(other, int):
                if len(one) * other > _MOST_ITEMS:
                    raise ValueError
            elif isinstance(one, int | float) and abs(one) > _LARGEST:
                raise ValueError
        return _OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.List | ast.Tuple):
        items = [_value(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    return ast.literal_eval(node)

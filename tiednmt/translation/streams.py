"""Translations of a file or of stdin on stdout, line for line."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tiednmt.errors import UserError, drop_stdout
from tiednmt.text.lines import STDIN, read_lines
from tiednmt.translation.translator import LINES_AT_ONCE, Translator


def translate_to_stdout(
    translator: Translator, source: str, nbest: int | None = None, **search: Any
) -> None:
    """Translate a file, or stdin for ``-``: as many lines out as in.

    Lines are answered one by one at a terminal, else some thousands at a time. That a reader has
    seen enough is no error.

    Args:
        translator: what to translate with.
        source: a path, or ``-``.
        nbest: print so many of each line instead: its number from 1, score and text, with tabs.
        **search: see :meth:`Translator.translate`.

    Raises:
        UserError: stdin or stdout is closed, the text cannot be read, or the disk is full.
    """
    if sys.stdout is None:
        raise UserError("stdout is closed; there is nowhere to write translations to")
    stdin = source == "-"
    if stdin and sys.stdin is None:
        raise UserError("stdin is closed; give --input FILE")
    at_once = 1 if stdin and sys.stdin.isatty() else LINES_AT_ONCE
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    lines = read_lines(STDIN if stdin else Path(source))
    try:
        for line in _printed(translator, lines, at_once, nbest, search):
            with _writing():
                print(line, flush=at_once == 1)
        with _writing():
            sys.stdout.flush()
    except _EnoughRead:
        pass


def _printed(
    translator: Translator,
    lines: Iterable[str],
    at_once: int,
    nbest: int | None,
    search: Mapping[str, Any],
) -> Iterator[str]:
    if nbest is None:
        yield from translator.stream(lines, at_once=at_once, **search)
        return
    lists = translator.stream(lines, nbest=nbest, details=True, at_once=at_once, **search)
    for number, several in enumerate(lists, start=1):
        for one in several:
            yield f"{number}\t{one.score:.4f}\t{one.text}"


class _EnoughRead(Exception):
    """Whoever reads stdout has closed it."""


@contextmanager
def _writing() -> Iterator[None]:
    """Tell what is wrong with stdout, and not with what is read or searched between the lines."""
    try:
        yield
    except BrokenPipeError:
        drop_stdout()
        raise _EnoughRead from None
    except OSError as error:
        drop_stdout()
        raise UserError(f"stdout: cannot be written: {error.strerror}") from error

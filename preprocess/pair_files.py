"""Files that have both sides of a bitext: columns (TSV), JSON lines and translation memories (TMX).

Each reader yields the pairs of two languages with the line that they begin in; :func:`reader_of`
knows which one a file is for.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from xml.parsers import expat

from preprocess.pairs import Numbered, Pair, TextFile
from tiednmt.errors import UserError
from tiednmt.text.lines import BYTE_ORDER_MARK, LONGEST_LINE, open_bytes, text_fault
from tiednmt.text.writing import visible

BLOCK_BYTES = 1 << 16
COMPRESSED = (".gz", ".xz", ".bz2", ".zst")  # may follow the ending of the format

Reader = Callable[[TextFile, str, str], Iterator[Numbered]]

_PROLOGUE = re.compile(rb"\s+|<\?xml\b[^>]*>|<!DOCTYPE\b[^>]*>|<!--.*?-->", re.DOTALL)
_TMX = re.compile(rb"<tmx\b")


def reader_of(path: Path, source: str, target: str, alone: bool = False) -> Reader | None:
    """The reader of a file with both sides, by its content or else its ending; None for plain text.

    Args:
        path: an existing file.
        source: code of the source language.
        target: code of the target language.
        alone: no other file holds its other side, so a tab is enough to recognise columns.

    Raises:
        UserError: it cannot be decompressed.
    """
    with open_bytes(path) as data:
        start = data.read(BLOCK_BYTES).removeprefix(BYTE_ORDER_MARK)
    if _is_tmx(start.lstrip(b"\xff\xfe").replace(b"\0", b"")):  # UTF-16 too
        return read_tmx
    first, *_ = start.lstrip().split(b"\n")
    if first.startswith(b"{") and _is_record(first, source, target):
        return read_jsonl
    stem = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    by_ending = FORMATS.get(stem.suffix.lower())
    return by_ending or (read_tsv if alone and b"\t" in first else None)


def _is_tmx(start: bytes) -> bool:
    """Whether a file begins as a translation memory, after the usual prologue of XML."""
    place = 0
    while item := _PROLOGUE.match(start, place):  # one at a time: a pattern of them all backtracks
        place = item.end()
    return _TMX.match(start, place) is not None


def _is_record(line: bytes, source: str, target: str) -> bool:
    try:
        return _texts(json.loads(line), source, target) is not None
    except (ValueError, RecursionError):
        return False


# --- names of texts ----------------------------------------------------------------------------


def _named(names: Iterable[str], source: str, target: str) -> tuple[str, str] | None:
    """The names of the two sides among the names of texts; None if one is missing.

    They are the codes of the languages (without ``en``, ``en-US`` will do), or ``source`` and
    ``target``, or ``src`` and ``tgt``.
    """
    by_code: dict[str, str] = {}
    for name in names:
        by_code.setdefault(_code(name), name)
    languages = _variety(by_code, source, target), _variety(by_code, target, source)
    for one, other in (languages, ("source", "target"), ("src", "tgt")):
        if one in by_code and other in by_code and one != other:
            return by_code[one], by_code[other]
    return None


def _variety(codes: Iterable[str], language: str, other: str) -> str:
    """The code of a language, or if it is not among ``codes`` the first of its varieties.

    ``other``: the language of the other side, which may be one of them.
    """
    wanted, taken = _code(language), _code(other)
    varieties = (code for code in codes if code.startswith(f"{wanted}_") and code != taken)
    return wanted if wanted in codes else next(varieties, wanted)


def _code(language: str) -> str:
    return language.strip().replace("-", "_").lower()


# --- columns -----------------------------------------------------------------------------------


def read_tsv(file: TextFile, source: str, target: str) -> Iterator[Numbered]:
    """Read two columns, or the two that a first line names (``en``, ``source`` and so on).

    There are no quotation marks around columns, and no tabs within them.

    Raises:
        UserError: a line has a different number of columns, or two have the name of a side.
    """
    columns, width = (0, 1), 2
    for number, line in enumerate(file.lines(), start=1):
        cells = line.split("\t")
        if number == 1 and (names := _named(cells, source, target)):
            for name in names:
                if cells.count(name) > 1:
                    raise UserError(f"{file}, line 1: two columns are named {name}")
            columns, width = (cells.index(names[0]), cells.index(names[1])), len(cells)
        elif not visible(line):
            yield number, ("", "")
        elif len(cells) != width:
            raise UserError(
                f"{file}, line {number}: {len(cells)} column(s), not {width}; the source and the"
                f" target stand in two, or are named {source} and {target} in a first line"
            )
        else:
            yield number, (cells[columns[0]], cells[columns[1]])


# --- JSON lines --------------------------------------------------------------------------------

_ONE_OBJECT = "write one object per line (jq -c '.[]' does so with an array)"


class _NamedTwiceError(ValueError):
    """An object has a key twice."""


def _distinct(items: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in items]
    if len(set(keys)) < len(keys):
        raise _NamedTwiceError(next(key for key in keys if keys.count(key) > 1))
    return dict(items)


def read_jsonl(file: TextFile, source: str, target: str) -> Iterator[Numbered]:
    """Read one object per line: ``{"en": …, "ja": …}``, or the same under ``"translation"``.

    The keys may be ``source`` and ``target`` or ``src`` and ``tgt`` too.

    Raises:
        UserError: a line is not such an object.
    """
    for number, line in enumerate(file.lines(), start=1):
        if not visible(line):
            yield number, ("", "")
            continue
        try:
            record = json.loads(line, object_pairs_hook=_distinct)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{file}, line {number}: not JSON ({error.msg} at character {error.pos + 1});"
                f" {_ONE_OBJECT}"
            ) from None
        except _NamedTwiceError as error:
            raise UserError(f"{file}, line {number}: has the key {error} twice") from None
        except (ValueError, RecursionError):
            raise UserError(f"{file}, line {number}: not JSON that can be read") from None
        if isinstance(record, list):
            raise UserError(f"{file}, line {number}: a JSON array; {_ONE_OBJECT}")
        pair = _texts(record, source, target)
        if pair is None:
            raise UserError(
                f"{file}, line {number}: has no texts {source} and {target}; write"
                f' {{"{source}": "…", "{target}": "…"}}'
            )
        for text in pair:
            _require_text(text, f"{file}, line {number}")
        yield number, (_one_line(pair[0]), _one_line(pair[1]))


def _texts(record: Any, source: str, target: str) -> Pair | None:
    holders = [record, record.get("translation")] if isinstance(record, dict) else []
    for holder in holders:
        if isinstance(holder, dict) and (names := _named(holder, source, target)):
            texts = holder[names[0]], holder[names[1]]
            return texts if all(isinstance(text, str) for text in texts) else None
    return None


def _require_text(text: str, place: str) -> None:
    if fault := text_fault(text):
        raise UserError(f"{place}: holds {fault}; remove it")


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


# --- translation memories ----------------------------------------------------------------------


def read_tmx(file: TextFile, source: str, target: str) -> Iterator[Numbered]:
    """Read the translation units that have both languages (``en-US`` is ``en`` too).

    Markup is left out. Only the entities of XML itself are expanded, and nothing outside the file
    is read.

    Raises:
        UserError: it is not XML, or no unit has both languages.
    """
    memory = _Memory(file, source, target)
    found = False
    with open_bytes(file.path, file.member) as data:
        while not memory.ended:
            memory.feed(data.read(BLOCK_BYTES))
            found = found or bool(memory.units)
            yield from memory.units
            memory.units.clear()
    if found and memory.left_out:
        _tell(
            f"WARNING: {file}: {memory.left_out:,} translation units lack {source} or {target} and"
            f" are left out; the file has {', '.join(sorted(memory.languages))}"
        )
    if not found:
        languages = ", ".join(sorted(memory.languages)) or "no language"
        raise UserError(
            f"{file}: no translation unit has both {source} and {target}, only {languages}; give"
            " these codes to --source and --target"
        )


@cache
def _tell(line: str) -> None:
    """Print a line once: files are read several times."""
    print(line, file=sys.stderr)


class _Memory:
    """A parser of TMX: ``units`` has what the bytes so far have completed."""

    NATIVE = ("bpt", "ept", "it", "ph", "ut")  # codes of the format that a text came from

    def __init__(self, file: TextFile, source: str, target: str):
        self.units: list[Numbered] = []
        self.languages: set[str] = set()
        self.left_out = 0  # units that lack one of the two languages
        self.ended = False
        self._file = file
        self._wanted = (source, target)
        self._line = 0
        self._texts: dict[str, str] = {}  # of the unit: language → text
        self._language = ""
        self._text: list[str] | None = None
        self._length = 0
        self._native = 0  # how deep within native codes
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._refuse_entity
        self._parser.SkippedEntityHandler = self._refuse_entity

    def feed(self, data: bytes) -> None:
        """Continue to parse; an empty chunk ends the file."""
        self.ended = not data
        try:
            self._parser.Parse(data, self.ended)
        except expat.ExpatError as error:
            reason = expat.errors.messages[error.code]
            raise UserError(f"{self._file}, line {error.lineno}: not XML ({reason})") from None
        except UserError:  # of a handler
            raise
        except (LookupError, ValueError) as error:  # an encoding that Python does not know
            raise UserError(f"{self._place}: not to be decoded ({error})") from None

    @property
    def _place(self) -> str:
        return f"{self._file}, line {self._parser.CurrentLineNumber}"

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "tu":
            self._line, self._texts = self._parser.CurrentLineNumber, {}
        elif name == "tuv":
            self._language = attributes.get("xml:lang") or attributes.get("lang") or ""
            self.languages.add(self._language)
        elif name == "seg":
            self._text, self._length, self._native = [], 0, 0
        elif name in self.NATIVE:
            self._native += 1

    def _end(self, name: str) -> None:
        if name == "seg" and self._text is not None:
            self._texts.setdefault(_code(self._language), _one_line("".join(self._text)).strip())
            self._text = None
        elif name == "tu":
            if names := _named(self._texts, *self._wanted):
                self.units.append((self._line, (self._texts[names[0]], self._texts[names[1]])))
            else:
                self.left_out += 1
        elif name in self.NATIVE:
            self._native -= 1

    def _characters(self, text: str) -> None:
        if self._text is not None and not self._native:
            self._length += len(text)
            if self._length > LONGEST_LINE:
                raise UserError(f"{self._place}: a segment longer than {LONGEST_LINE >> 20} MB")
            self._text.append(text)

    def _refuse_entity(self, name: str, *_: object) -> None:
        raise UserError(
            f"{self._place}: entity {name}, which is not expanded; write the characters themselves"
        )


FORMATS: dict[str, Reader] = {  # ending → reader
    ".tsv": read_tsv,
    ".tmx": read_tmx,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_jsonl,
}

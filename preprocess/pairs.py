"""Sentence pairs: two files line by line or segment by segment, or one file that has both sides."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Protocol

from tiednmt.errors import UserError
from tiednmt.text.lines import read_lines

Pair = tuple[str, str]
Numbered = tuple[int, Pair]  # the line that a pair begins in, from 1

_DOCUMENT = re.compile(r"<doc\b[^>]*\bdocid=\"([^\"]*)\"", re.IGNORECASE)
_SEGMENT = re.compile(r"<seg\b[^>]*\bid=\"([^\"]*)\"[^>]*>(.*?)</seg>", re.IGNORECASE)
_SEGMENT_START = re.compile(r"<seg\b", re.IGNORECASE)


class PairSource(Protocol):
    """Sentence pairs, source first, somewhere on disk."""

    @property
    def paths(self) -> list[Path]:
        """The files that hold them."""
        ...

    def pairs(self) -> Iterator[Pair]:
        """The pairs, in the order of the files.

        Raises:
            UserError: a file is bad or a side lacks what the other one has.
        """
        ...

    def place(self, number: int) -> str:
        """Names the file and where in it the pair of this number is, from 1."""
        ...


@dataclass(frozen=True)
class TextFile:
    """A text file or a member of an archive, compressed or not."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}, {self.member}" if self.member else str(self.path)

    def lines(self) -> Iterator[str]:
        """Its lines, as :func:`tiednmt.text.lines.read_lines` reads them."""
        return read_lines(self.path, self.member)


Reader = Callable[[TextFile, TextFile], Iterator[Pair]]


@dataclass(frozen=True)
class Bitext:
    """Pairs that ``reader`` reads out of two files."""

    source: TextFile
    target: TextFile
    reader: Reader

    @property
    def paths(self) -> list[Path]:
        """The files on disk that hold the two sides, perhaps one archive."""
        return list(dict.fromkeys((self.source.path, self.target.path)))

    def pairs(self) -> Iterator[Pair]:
        """The pairs, in the order of the files."""
        return self.reader(self.source, self.target)

    def place(self, number: int) -> str:
        """Where a pair is."""
        what = "line" if self.reader is line_by_line else "pair"
        return f"{self.source} and {self.target}, {what} {number}"


@dataclass(frozen=True)
class PairFile:
    """Pairs in one file, whose format ``reader`` knows; it is given the languages' codes."""

    file: TextFile
    source: str
    target: str
    reader: Callable[[TextFile, str, str], Iterator[Numbered]]

    @property
    def paths(self) -> list[Path]:
        """The file."""
        return [self.file.path]

    def pairs(self) -> Iterator[Pair]:
        """The pairs, in the order of the file."""
        return (pair for _, pair in self._numbered())

    def place(self, number: int) -> str:
        """Where a pair is."""
        line, _ = next(islice(self._numbered(), number - 1, None))
        return f"{self.file}, line {line}"

    def _numbered(self) -> Iterator[Numbered]:
        return self.reader(self.file, self.source, self.target)


def line_by_line(source: TextFile, target: TextFile) -> Iterator[Pair]:
    """Line N of one is the translation of line N of the other.

    Raises:
        UserError: one has more lines.
    """
    numbers = [0, 0]
    for pair in zip_longest(source.lines(), target.lines()):
        for side, line in enumerate(pair):
            numbers[side] += line is not None
        if numbers[0] == numbers[1]:
            yield pair
    if numbers[0] != numbers[1]:
        raise UserError(
            f"{source} has {numbers[0]} lines and {target} has {numbers[1]}:"
            " line N of one must be the translation of line N of the other"
        )


def segment_by_segment(source: TextFile, target: TextFile) -> Iterator[Pair]:
    """The segments of the same document and number in two sgm or XML files.

    Raises:
        UserError: a segment is missing in one of them, or they stand in another order.
    """
    for one, other in zip_longest(segments(source), segments(target)):
        if one is None or other is None or one.name != other.name:
            raise UserError(_mismatch(source, one, target, other))
        yield one.text, other.text


@dataclass(frozen=True)
class Segment:
    """A segment: its document and number, the line it stands in, and its text."""

    document: str
    number: str
    line: int
    text: str

    @property
    def name(self) -> tuple[str, str]:
        """What the same segment has in all languages."""
        return self.document, self.number


def segments(file: TextFile) -> Iterator[Segment]:
    """The segments of an sgm or XML file (one per line), entities resolved.

    Raises:
        UserError: a segment does not end in the line it begins in.
    """
    document = ""
    for number, line in enumerate(file.lines(), start=1):
        opened = _DOCUMENT.search(line)
        if opened:
            document = opened[1]
        segment = _SEGMENT.search(line)
        if segment:
            text = html.unescape(segment[2]).strip()
            yield Segment(document, segment[1], number, text)
        elif _SEGMENT_START.search(line):
            raise UserError(
                f"{file}, line {number}: a <seg> without number or end; get the right file"
            )


def _mismatch(
    source: TextFile, one: Segment | None, target: TextFile, other: Segment | None
) -> str:
    sides = [
        f"{file}, line {segment.line}, has segment {segment.number} of document {segment.document}"
        if segment
        else f"{file} has ended"
        for file, segment in ((source, one), (target, other))
    ]
    return f"{' where '.join(sides)}: a segment is missing on one side; get the right files"

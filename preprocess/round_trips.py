"""Round trips: does text come back unchanged after it is encoded into units and decoded?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from preprocess.pairs import Pair
from tiednmt.text.lines import read_lines
from tiednmt.text.pipeline import TextPipeline

LINES = 1000  # how many of each side are encoded and decoded


@dataclass(frozen=True)
class RoundTrip:
    """How many lines of a side come back unchanged after encoding and decoding.

    Attributes:
        lines: how many were tried.
        same: how many come back unchanged.
        example: the first line that changes more than normalisation changes, and its result.
        normalised: how many lose only what normalisation removes: decomposed letters, control
            characters, the rarer apostrophe.
        normalised_example: the first of these, and its result.
    """

    lines: int
    same: int
    example: Pair | None = None
    normalised: int = 0
    normalised_example: Pair | None = None

    @property
    def share(self) -> float:
        """The share of lines that come back unchanged."""
        return self._share(self.same)

    @property
    def lost(self) -> float:
        """The share of lines that change more than normalisation changes."""
        return self._share(self.lines - self.same - self.normalised, of_none=0.0)

    @property
    def changed(self) -> float:
        """The share of lines that are only normalised."""
        return self._share(self.normalised, of_none=0.0)

    def _share(self, lines: int, of_none: float = 1.0) -> float:
        return lines / self.lines if self.lines else of_none


def round_trip(pipeline: TextPipeline, language: str, path: Path, lines: int) -> RoundTrip:
    """Encode and decode lines that are spread evenly over a raw file of ``lines`` lines.

    White space is not compared: all of it becomes single spaces.
    """
    tried = same = normalised = 0
    example, normalised_example = None, None
    for line in _spread(read_lines(path), lines):
        line = " ".join(line.split())
        units = pipeline.segment(pipeline.tokenise(line, language), language)  # without a tag
        decoded = pipeline.decode(units, language)
        tried += 1
        if decoded == line:
            same += 1
        elif decoded == pipeline.as_written(line, language):
            normalised += 1
            normalised_example = normalised_example or _difference(line, decoded)
        else:
            example = example or _difference(line, decoded)
    return RoundTrip(tried, same, example, normalised, normalised_example)


def _spread(text: Iterable[str], lines: int) -> Iterator[str]:
    """At most :data:`LINES` of the lines, as far apart from each other as they can be."""
    tried = min(LINES, lines)
    places = {number * lines // tried for number in range(tried)}
    return (line for number, line in enumerate(text) if number in places)


def _difference(one: str, other: str) -> Pair:
    """Both texts around the place where they begin to differ."""
    place = next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    start = max(0, place - 20)
    return one[start : start + 40], other[start : start + 40]

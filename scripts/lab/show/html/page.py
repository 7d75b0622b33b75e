"""The page: sections of figures, laid out for a template that shows any of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.lab.show.html import charts
from scripts.lab.show.html.charts import Drawing
from scripts.lab.show.html.samples import Samples
from tiednmt.show.figures import Block, Bullets, Cell, Code, Figures, Part, Picture, Table

LOOKS = 6  # colours and shapes that tell rows apart


@dataclass(frozen=True)
class Section:
    """What is shown of a record.

    Args:
        figures: of the record.
        more: parts that the record's folder adds.
        analysis: figures of what ``tiednmt analyse`` found of its embeddings.
        samples: translations.
    """

    figures: Figures
    more: Sequence[Part] = ()
    analysis: Figures | None = None
    samples: Samples | None = None


def render(sections: Sequence[Section], command: str) -> str:
    """The page of ``sections``; ``command`` is the one that makes it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        count=lambda number: f"{number:,}",
        look=lambda number: number % LOOKS,
        shape=lambda number: (number + number // LOOKS) % LOOKS,  # another for a colour's next
        minus=_minus,
        cell=lambda cell: Cell(cell) if isinstance(cell, str) else cell,
        pieces=_pieces,
        laid_out=_laid_out,
    )
    numbers = count(1)
    return environment.get_template("page.html").render(
        sections=[(f"run-{i}", section) for i, section in enumerate(sections, start=1)],
        command=command,
        canvas=charts,
        new_id=lambda: f"picture-{next(numbers)}",
    )


def _minus(text: str) -> str:
    """A figure with the minus that typographers want."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text)


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """The pieces of a sentence between backticks and outside; whether they are code."""
    for i, piece in enumerate(text.split("`")):
        if piece:
            yield piece, i % 2 == 1


@dataclass(frozen=True)
class Panels:
    """Drawings beside each other, and what is noted of them."""

    drawings: Sequence[Drawing]
    notes: Sequence[str]


def _laid_out(blocks: Iterable[Block]) -> Iterator[tuple[str, object]]:
    """Each block with the name of the macro that shows it; neighbouring pictures are one."""
    for are_pictures, group in groupby(blocks, lambda block: isinstance(block, Picture)):
        if are_pictures:
            pictures = [block for block in group if isinstance(block, Picture)]
            yield (
                "panels",
                Panels(
                    [charts.laid_out(chart) for picture in pictures for chart in picture.charts],
                    [picture.note for picture in pictures if picture.note],
                ),
            )
        else:
            for block in group:
                yield _FORMS[type(block)], block


_FORMS = {Table: "table", Bullets: "bullets", Code: "code", str: "paragraph"}

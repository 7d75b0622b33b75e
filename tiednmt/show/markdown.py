"""Tables and sentences as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tiednmt.show.figures import Block, Bullets, Cell, Code, Figures, Picture, Table


def page(figures: Figures) -> str:
    """All tables and sentences of a record, with captions and the text below figures."""
    sections = [blocks(figures.summary, below=True)]
    for part in figures.parts:
        text = blocks(part.blocks, below=True)
        sections += [f"## {part.title}", text] if text else []
    samples = [Bullets([f"{name}: {text}" for name, text in of.items()]) for of in figures.samples]
    if samples:
        sections += ["## Samples", blocks(samples)]
    return "\n\n".join(filter(None, (f"# {figures.title}", *sections))) + "\n"


def blocks(shown: Iterable[Block], below: bool = False) -> str:
    """Tables, lists and paragraphs; pictures are files of their own.

    With ``below``, tables have their caption, and what stands below figures in brackets.
    """
    texts = (_block(block, below) for block in shown if not isinstance(block, Picture))
    return "\n\n".join(texts)


def _block(block: Block, below: bool) -> str:
    if isinstance(block, Table):
        head = f"{block.caption}:\n\n" if below and block.caption else ""
        return head + table(block, below)
    if isinstance(block, Bullets):
        return "\n".join(f"- {item}" for item in block.items)
    if isinstance(block, Code):
        return "\n\n".join(filter(None, (block.caption, f"```\n{block.text}\n```")))
    return str(block)


def table(shown: Table, below: bool = False) -> str:
    """A Markdown table, without its caption; with ``below``, also the text below figures."""
    width = len(shown.head)
    ruler = ["---"] * shown.left + ["--:"] * (width - shown.left)
    rows = [ruler, *(texts(row, below) for row in shown.rows)]
    lines = ([cell.replace("|", r"\|") for cell in cells] for cells in (shown.head, *rows))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def texts(row: Sequence[str | Cell], below: bool = False) -> list[str]:
    """The text of every column of a row of a table."""
    return [text for cell in row for text in _text(cell, below)]


def _text(cell: str | Cell, below: bool) -> Iterator[str]:
    """The text of each column that a cell covers: its own, and then ``=``."""
    if isinstance(cell, str):
        yield cell
        return
    yield f"{cell.text} ({cell.below})" if below and cell.below else cell.text
    yield from ["="] * (cell.span - 1)

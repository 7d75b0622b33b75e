"""Which matrices of each row are one, as cells of a table and pieces of a bar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tiednmt.tying import INPUT, OUTPUT, SOURCE_INPUT, TARGET_INPUT, TieMap

SYMBOLS = {  # letter and subscript of the matrices, as in the README
    SOURCE_INPUT: ("U", "src"),
    TARGET_INPUT: ("U", "tgt"),
    INPUT: ("U", ""),
    OUTPUT: ("V", ""),
}


@dataclass(frozen=True)
class Piece:
    """Parameters of a row that are one matrix, or one kind of what is no embedding."""

    names: tuple[str, ...]
    parameters: int
    shape: tuple[int, int] | None = None  # of an embedding: types and dimensions

    @property
    def label(self) -> list[tuple[str, str]]:
        """Symbol and subscript, or name, of all that it is."""
        return [SYMBOLS.get(name, (name, "")) for name in self.names]


def pieces(tie: TieMap) -> list[Piece]:
    """All parameters of a model; those of the embeddings first."""
    embeddings = [Piece(names, types * dim, (types, dim)) for names, (types, dim) in tie.groups]
    return [*embeddings, *(Piece((name,), count) for name, count in tie.others.items())]


def columns(ties: Mapping[str, TieMap]) -> list[str]:
    """The names in all tie maps, embeddings first, without what no row has."""
    found: dict[str, None] = {}
    for tie in ties.values():
        found.update(dict.fromkeys(name for names, _ in tie.groups for name in names))
    for tie in ties.values():
        found.update(dict.fromkeys(name for name, count in tie.others.items() if count))
    return list(found)


def cells(tie: TieMap, names: list[str]) -> Iterator[tuple[int, Piece | None]]:
    """The pieces in the order of the columns ``names``, each with the columns that it spans.

    None stands where the row has nothing.
    """
    piece_of = {name: piece for piece in pieces(tie) for name in piece.names}
    owners = [piece_of.get(name) for name in names]
    start = 0
    while start < len(owners):
        end = start + 1
        while end < len(owners) and owners[end] is owners[start] is not None:
            end += 1
        yield end - start, owners[start]
        start = end

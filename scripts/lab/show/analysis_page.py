"""The tables of an analysis, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.lab.show.markdown import markdown

MEGABYTE = 1_000_000

Record = Mapping[str, Any]


def page(record: Record) -> str:
    """All tables of ``analysis.json``."""
    blocks = ["# Embeddings", *map(_tie_map, record["checkpoints"])]
    if record["similarity"]:
        blocks += ["## Word similarity", similarity_table(record["similarity"]), _NOTE]
        blocks.append(_left_out(record))
        if any(checkpoint["subwords"] for checkpoint in record["checkpoints"]):
            blocks.append("Words of a subword vocabulary: the mean of the rows of their units.")
    if record["likeness"]:
        blocks += ["## Likeness of embeddings", _likeness(record["likeness"])]
    blocks += ["## Mean norm of a row, by frequency rank", _norms(record["checkpoints"])]
    if any(checkpoint["row_movement"] for checkpoint in record["checkpoints"]):
        blocks += ["## Rows that an update moves", _row_movement(record["checkpoints"])]
    neighbours = _neighbours(record["checkpoints"])
    if neighbours:
        blocks += ["## Nearest neighbours", neighbours]
    return "\n\n".join(filter(None, blocks)) + "\n"


_NOTE = (
    "Spearman's ρ of cosines and human scores, over the pairs whose words are both known (as "
    "written, or else in lower case)."
)


def _left_out(record: Record) -> str:
    """Which embeddings are in no set; the sets are English, and these hold no English words."""
    shown = {name for found in record["similarity"].values() for name in found["by"]}
    names = [
        f"{checkpoint['name']} {name}"
        for checkpoint in record["checkpoints"]
        for name in checkpoint["matrices"]
    ]
    others = [name for name in names if name not in shown]
    return f"Left out, since the sets are English: {', '.join(others)}." if others else ""


def rho(value: float | None) -> str:
    """A correlation as tables show it."""
    return "–" if value is None else f"{value:.3f}"


def similarity_table(similarity: Mapping[str, Any]) -> str:
    """ρ by set (row) and embedding (column), and the pairs covered."""
    names = list(dict.fromkeys(name for found in similarity.values() for name in found["by"]))
    rows = []
    for pairs, found in similarity.items():
        by = [found["by"].get(name) for name in names]
        covered = sorted({one["covered"] for one in by if one})
        counts = "–".join(f"{count:,}" for count in dict.fromkeys(covered[:1] + covered[-1:]))
        cells = [rho(one["rho"]) if one else "" for one in by]
        rows.append([pairs, f"{counts or 0} of {found['pairs']:,}", *cells])
    return markdown(["", "pairs covered", *names], rows)


def _tie_map(checkpoint: Record) -> str:
    head = f"## {checkpoint['name']}"
    tie, vocabulary = checkpoint["tie_map"], checkpoint["vocabulary"]
    if tie is None:
        return head + "\n\nWord vectors of word2vec or gensim."
    rows = [
        [
            " = ".join(group["names"]),
            f"{group['types']:,} × {group['dim']:,}",
            f"{group['parameters']:,}",
            _stored(group["parameters"], tie),
        ]
        for group in tie["groups"]
    ]
    counts = {
        **{name: count for name, count in tie["others"].items() if count},
        "total": tie["total"],
        "the same without tying": tie["untied_total"],
    }
    rows += [[name, "", f"{count:,}", _stored(count, tie)] for name, count in counts.items()]
    table = markdown([checkpoint["architecture"], "size", "parameters", "stored"], rows)
    return "\n\n".join(filter(None, (head, table, vocabulary and _shares(vocabulary))))


def _stored(parameters: int, tie: Record) -> str:
    return f"{parameters * tie['bytes_per_parameter'] / MEGABYTE:.1f} MB"


def _shares(vocabulary: Mapping[str, int]) -> str:
    names = {"source_only": "only in the source", "target_only": "only in the target"}
    types = sum(vocabulary.values())
    shares = (
        f"{count:,} ({count / types:.1%}) {names.get(key, 'in both')}"
        for key, count in vocabulary.items()
    )
    return f"Types of the training text: {', '.join(shares)}."


def _likeness(likeness: Record) -> str:
    exact = likeness["exact"]
    rows = [
        [*found["of"], rho(found["rho"]) + ("" if exact else f" ± {found['error']:.4f}")]
        for found in likeness["by"]
    ]
    how = "all" if exact else "a random sample (± : 95 % confidence)"
    return "\n\n".join(
        (
            markdown(["", "", "ρ"], rows, left=2),
            f"Spearman's ρ of the cosines of {likeness['pairs']:,} pairs ({how}) of the "
            f"{likeness['words']:,} words that all know.",
        )
    )


def _by_band(found: Mapping[str, Sequence[Mapping[str, Any]]], key: str, form: str) -> str:
    """A column a band of ranks, a row an embedding."""
    bands = dict.fromkeys(tuple(band["ranks"]) for column in found.values() for band in column)
    rows = []
    for name, column in found.items():
        values = {tuple(band["ranks"]): format(band[key], form) for band in column}
        rows.append([name, *(values.get(band, "") for band in bands)])
    return markdown(["", *(f"{first:,}–{last:,}" for first, last in bands)], rows)


def _norms(checkpoints: Sequence[Record]) -> str:
    found = {
        f"{checkpoint['name']} {name}": matrix["norms"]
        for checkpoint in checkpoints
        for name, matrix in checkpoint["matrices"].items()
    }
    return _by_band(found, "mean", ".2f")


def _row_movement(checkpoints: Sequence[Record]) -> str:
    found = {
        f"{checkpoint['name']}, {name}": bands
        for checkpoint in checkpoints
        if checkpoint["row_movement"]
        for name, bands in checkpoint["row_movement"]["matrices"].items()
    }
    return "\n\n".join(
        (
            _by_band(found, "moved", ",.1f"),
            "Rows moved by an update, by frequency rank of the word; and the mean distance a row:",
            _by_band(found, "distance", ".2g"),
        )
    )


def _neighbours(checkpoints: Sequence[Record]) -> str:
    rows = [
        [word, f"{checkpoint['name']} {name}", _listed(found)]
        for checkpoint in checkpoints
        for name, matrix in checkpoint["matrices"].items()
        for word, found in matrix["neighbours"].items()
    ]
    words = [row[0] for row in rows]
    rows.sort(key=lambda row: words.index(row[0]))  # all embeddings of a word below each other
    return markdown(["word", "embedding", "nearest (cosine)"], rows, left=3) if rows else ""


def _listed(found: Sequence[tuple[str, float]]) -> str:
    listed = ", ".join(f"{word.replace('|', chr(92) + '|')} {cosine:.2f}" for word, cosine in found)
    return listed or "not in the vocabulary"

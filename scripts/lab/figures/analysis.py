"""What is shown of ``python -m scripts.analyse``: tables and charts of its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.lab.figures.parts import (
    by_band,
    dots_by_set,
    likeness_map,
    over_frequency,
    rho,
    tie_bars,
    tie_table,
)
from scripts.lab.records.figures import (
    Axis,
    Block,
    Cell,
    Chart,
    Figures,
    HeatMap,
    Part,
    Picture,
    Point,
    Series,
    Table,
)
from tiednmt.tying import TieMap

LABELLED_WORDS = 80  # of a map; the rest are points alone

Record = Mapping[str, Any]


def figures(record: Record, title: str = "Embeddings") -> Figures:
    """All that is shown of ``analysis.json``."""
    checkpoints = record["checkpoints"]
    matrices = {
        f"{checkpoint['name']} {letter}": matrix
        for checkpoint in checkpoints
        for letter, matrix in checkpoint["matrices"].items()
    }
    parts = [
        Part("Parameters", _parameters(checkpoints)),
        Part("Word similarity", _similarity(record, list(matrices))),
        Part("Likeness of embeddings", _likeness(record["likeness"])),
        Part("Norms", _norms(matrices)),
        Part("Rows that an update moves", _row_movement(checkpoints)),
        Part("Nearest neighbours", _neighbours(matrices), folded=True),
        Part("Maps of the most frequent words", [*map(_map, checkpoints)], folded=True),
        Part("Attention", [*_attention(checkpoints)], folded=True),
    ]
    return Figures(title, parts=[part for part in parts if part.blocks], names=list(matrices))


def tie_maps(record: Record) -> dict[str, TieMap]:
    """By checkpoint, of those that have one."""
    return {
        checkpoint["name"]: TieMap(
            groups=tuple(
                (tuple(group["names"]), (group["types"], group["dim"])) for group in tie["groups"]
            ),
            others=tie["others"],
        )
        for checkpoint in record["checkpoints"]
        if (tie := checkpoint.get("tie_map"))
    }


def _parameters(checkpoints: Sequence[Record]) -> list[Block]:
    ties = tie_maps({"checkpoints": checkpoints})
    if not ties:
        return []
    stored = {
        checkpoint["name"]: checkpoint["tie_map"]["bytes_per_parameter"]
        for checkpoint in checkpoints
        if checkpoint["name"] in ties
    }
    shares = (
        f"Types of the training text of {checkpoint['name']}: {_shares(checkpoint['vocabulary'])}."
        for checkpoint in checkpoints
        if checkpoint["vocabulary"]
    )
    return [tie_table(ties, stored), Picture("parameters", [tie_bars(ties)]), *shares]


def _shares(vocabulary: Mapping[str, int]) -> str:
    names = {"source_only": "only in the source", "target_only": "only in the target"}
    types = sum(vocabulary.values())
    return ", ".join(
        f"{count:,} ({count / types:.1%}) {names.get(key, 'in both')}"
        for key, count in vocabulary.items()
    )


def _similarity(record: Record, names: Sequence[str]) -> list[Block]:
    similarity = record["similarity"]
    measured = [name for name in names if any(name in of["by"] for of in similarity.values())]
    if not measured:
        return []
    rows = []
    for pairs, found in similarity.items():
        by = found["by"]
        covered = sorted({one["covered"] for one in by.values()})
        counts = "–".join(f"{count:,}" for count in dict.fromkeys(covered[:1] + covered[-1:]))
        cells = [
            Cell(rho(by[name]["rho"]), f"{by[name]['covered']:,} known" if covered[1:] else "")
            if name in by
            else ""
            for name in measured
        ]
        rows.append([pairs, f"{counts or 0} of {found['pairs']:,}", *cells])
    blocks: list[Block] = [
        Table(["set", "pairs covered", *measured], rows, caption="Word similarity"),
        "Spearman's ρ of cosines and human scores, over the pairs whose words are both known (as "
        "written, or else in lower case).",
    ]
    others = [name for name in names if name not in measured]
    if others:
        blocks.append(f"Left out, since the sets are English: {', '.join(others)}.")
    if any(checkpoint["subwords"] for checkpoint in record["checkpoints"]):
        blocks.append("Words of a subword vocabulary: the mean of the rows of their units.")
    known = {
        f"{pairs}, {found['pairs']:,} pairs": {
            name: (one["rho"], None) for name, one in found["by"].items() if one["rho"] is not None
        }
        for pairs, found in similarity.items()
    }
    if any(known.values()):
        blocks.append(Picture("word-similarity", [dots_by_set(known, names)]))
    return blocks


def _likeness(likeness: Record | None) -> list[Block]:
    if not likeness:
        return []
    exact = likeness["exact"]
    by = {frozenset(one["of"]): one for one in likeness["by"]}
    names = list(dict.fromkeys(name for one in likeness["by"] for name in one["of"]))

    def cell(one: str, other: str) -> Cell:
        found = by[frozenset((one, other))]
        return Cell(rho(found["rho"]), "" if exact else f"± {found['error']:.4f}")

    rows = [
        [name, *(cell(name, other) for other in names[:i]), *[""] * (len(names) - 1 - i)]
        for i, name in enumerate(names)
    ][1:]
    how = "all" if exact else "a random sample (±: 95 % confidence)"
    return [
        Table(["embedding", *names[:-1]], rows, caption="Likeness of every two embeddings"),
        f"Spearman's ρ of the cosines of {likeness['pairs']:,} pairs ({how}) of the "
        f"{likeness['words']:,} words that all know.",
        Picture("likeness", [likeness_map({tuple(o["of"]): o["rho"] for o in likeness["by"]})]),
    ]


def _norms(matrices: Record) -> list[Block]:
    found = {name: matrix["norms"] for name, matrix in matrices.items()}
    chart = over_frequency(
        found,
        lambda band: band["mean"],
        "Mean norm of a row, by word frequency",
        Axis("mean norm of a row", low=0.0),
        list(found),
    )
    return [by_band(found, "mean", ".2f", "Mean norm of a row"), Picture("norms", [chart])]


def _row_movement(checkpoints: Sequence[Record]) -> list[Block]:
    measured = [checkpoint for checkpoint in checkpoints if checkpoint["row_movement"]]
    found = {
        f"{checkpoint['name']}, {name}": bands
        for checkpoint in measured
        for name, bands in checkpoint["row_movement"]["matrices"].items()
    }
    if not found:
        return []
    return [
        by_band(found, "moved", ",.1f", "Rows that an update moves"),
        by_band(found, "distance", ".3g", "How far an update moves a row, on average"),
        *map(_movement, measured),
    ]


def _movement(checkpoint: Record) -> Picture:
    name, movement = checkpoint["name"], checkpoint["row_movement"]
    matrices, looks = movement["matrices"], list(movement["matrices"])
    shares = over_frequency(
        matrices,
        lambda band: 100 * band["moved"] / band["rows"],
        f"{name}: rows that an update moves",
        Axis("% of the band", low=0.0),
        looks,
    )
    distances = over_frequency(
        matrices,
        lambda band: band["distance"],
        f"{name}: how far",
        Axis("mean distance a row and update", logarithmic=True),
        looks,
    )
    title = f"{name}: {movement['updates']:,} updates measured"
    return Picture(f"row-movement-{name}", [shares, distances], title)


def _neighbours(matrices: Record) -> list[Block]:
    words = dict.fromkeys(word for matrix in matrices.values() for word in matrix["neighbours"])
    rows = [
        [word, name, _listed(matrix["neighbours"][word])]
        for word in words
        for name, matrix in matrices.items()
        if word in matrix["neighbours"]
    ]
    head = ["word", "embedding", "nearest words and their cosine"]
    return [Table(head, rows, left=3, caption="Nearest neighbours")] if rows else []


def _listed(found: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{word} {cosine:.2f}" for word, cosine in found) or "not in the vocabulary"


def _map(checkpoint: Record) -> Picture:
    charts = []
    for letter, matrix in checkpoint["matrices"].items():
        words, points = matrix["map"]["words"], matrix["map"]["points"]
        labels = [*words[:LABELLED_WORDS], *[""] * len(words[LABELLED_WORDS:])]
        placed = [Point(x, y, label) for (x, y), label in zip(points, labels, strict=True)]
        title = f"{checkpoint['name']} {letter}, {matrix['map']['method'].upper()}"
        charts.append(
            Chart(
                title,
                description="The most frequent words in two dimensions",
                x=Axis(),
                y=Axis(),
                series=[Series(letter, 0, placed, joined=False)],
            )
        )
    return Picture(f"map-{checkpoint['name']}", charts, columns=len(charts))


def _attention(checkpoints: Sequence[Record]) -> Iterator[Picture]:
    for checkpoint in checkpoints:
        for number, sentence in enumerate(checkpoint["attention"], start=1):
            heat = HeatMap(
                title=f"{checkpoint['name']}, sentence {number}",
                description="Attention of each unit of the translation (a row) to those of the "
                "source; dots: the greatest of the row",
                rows=sentence["target"],
                columns=sentence["source"],
                values=sentence["weights"],
                label="attention",
                dots=[(target, source) for target, source in sentence["alignment"]],
            )
            yield Picture(f"attention-{checkpoint['name']}-{number}", [heat])

"""What ``python -m scripts.analyse`` found, read from its analysis.json, as tables and a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lab.records.shapes import NUMBER, Each, Filled, Maybe, fault, read_json
from scripts.lab.show.html import charts
from scripts.lab.show.html.charts import Chart, DotPlot
from tiednmt.errors import UserError
from tiednmt.tying import TieMap

FILE = "analysis.json"

Analysis = Mapping[str, Any]
Ranks = tuple[int, int]  # the first and last of a band of words, by frequency

RANKS = (int, int)
CHECKPOINT = {
    "name": str,
    "tie_map": Maybe(
        {
            "groups": Filled({"names": Filled(str), "types": int, "dim": int}),
            "others": Each(int),
        }
    ),
    "subwords": bool,
    "matrices": Each(
        {
            "norms": Filled({"ranks": RANKS, "mean": NUMBER}),
            "neighbours": Each([(str, NUMBER)]),
        }
    ),
    "row_movement": Maybe(
        {"matrices": Each(Filled({"ranks": RANKS, "moved": NUMBER, "distance": NUMBER}))}
    ),
}
SHAPE = {
    "checkpoints": Filled(CHECKPOINT),
    "similarity": Each({"pairs": int, "by": Each({"rho": NUMBER | None, "covered": int})}),
    "likeness": Maybe(
        {
            "words": int,
            "pairs": int,
            "exact": bool,
            "by": Filled({"of": (str, str), "rho": NUMBER | None, "error": NUMBER}),
        }
    ),
    "versions": Each(str),
}


@dataclass(frozen=True)
class Bands:
    """A figure of each embedding by band of frequency ranks; None where it has no such band."""

    bands: Sequence[Ranks]
    figures: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Likeness:
    """ρ of every two embeddings, each below and left of a diagonal that is left out."""

    words: int
    pairs: int
    exact: bool
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Analysis | None]]  # None right of the diagonal


@dataclass(frozen=True)
class Embeddings:
    """What is shown of an analysis."""

    names: Sequence[str]  # of the embeddings: checkpoint and letter
    similarity: Analysis
    measured: Sequence[str]  # those of ``names`` that similarity is known of
    dots: DotPlot | None  # of ``similarity``
    likeness: Likeness | None
    subwords: bool
    norms: Bands
    norms_chart: Chart
    moved: Bands  # rows an update
    distance: Bands  # mean a row
    neighbours: Mapping[str, Mapping[str, Sequence[tuple[str, float]]]]  # by word and embedding


def read_analysis(path: Path) -> Analysis:
    """The analysis in ``path``.

    Raises:
        UserError: it is damaged, or of another version.
    """
    analysis = read_json(path)
    found = fault(analysis, SHAPE)
    if found:
        raise UserError(
            f"{path}: {found}, so it is damaged or of another version; "
            "run python -m scripts.analyse again"
        )
    return analysis


def tie_maps(analysis: Analysis) -> dict[str, TieMap]:
    """By checkpoint, of those that have one."""
    return {
        checkpoint["name"]: TieMap(
            groups=tuple(
                (tuple(group["names"]), (group["types"], group["dim"])) for group in tie["groups"]
            ),
            others=tie["others"],
        )
        for checkpoint in analysis["checkpoints"]
        if (tie := checkpoint.get("tie_map"))
    }


def embeddings(analysis: Analysis) -> Embeddings:
    """What is shown of ``analysis``."""
    checkpoints = analysis["checkpoints"]
    matrices = {
        f"{checkpoint['name']} {letter}": matrix
        for checkpoint in checkpoints
        for letter, matrix in checkpoint["matrices"].items()
    }
    movement = {
        f"{checkpoint['name']}, {name}": bands
        for checkpoint in checkpoints
        for name, bands in (checkpoint.get("row_movement") or {"matrices": {}})["matrices"].items()
    }
    norms = _bands({name: matrix["norms"] for name, matrix in matrices.items()}, "mean")
    words = dict.fromkeys(word for matrix in matrices.values() for word in matrix["neighbours"])
    return Embeddings(
        names=list(matrices),
        similarity=analysis["similarity"],
        measured=[
            name
            for name in matrices
            if any(name in found["by"] for found in analysis["similarity"].values())
        ],
        dots=_dots(analysis["similarity"], list(matrices)),
        likeness=_likeness(analysis.get("likeness")),
        subwords=any(checkpoint["subwords"] for checkpoint in checkpoints),
        norms=norms,
        norms_chart=charts.by_frequency(norms.bands, norms.figures, "mean norm of a row"),
        moved=_bands(movement, "moved"),
        distance=_bands(movement, "distance"),
        neighbours={
            word: {
                name: matrix["neighbours"][word]
                for name, matrix in matrices.items()
                if word in matrix["neighbours"]
            }
            for word in words
        },
    )


def _dots(similarity: Analysis, names: Sequence[str]) -> DotPlot | None:
    figures = {
        pairs: {
            name: (one["rho"], None)
            for name, one in found["by"].items()
            if name in names and one["rho"] is not None
        }
        for pairs, found in similarity.items()
    }
    return charts.by_set(figures, names)


def _likeness(found: Analysis | None) -> Likeness | None:
    if found is None:
        return None
    by = {frozenset(one["of"]): one for one in found["by"]}
    names = list(dict.fromkeys(name for one in found["by"] for name in one["of"]))
    rows = {
        name: [by.get(frozenset((name, other))) if i < j else None for i, other in enumerate(names)]
        for j, name in enumerate(names)
    }
    return Likeness(
        found["words"],
        found["pairs"],
        found["exact"],
        names[:-1],
        {name: row[:-1] for name, row in list(rows.items())[1:]},
    )


def _bands(found: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> Bands:
    figures = {
        name: {(first, last): band[key] for band in bands for first, last in [band["ranks"]]}
        for name, bands in found.items()
    }
    known = sorted({ranks for by_ranks in figures.values() for ranks in by_ranks})
    return Bands(known, {name: [of.get(ranks) for ranks in known] for name, of in figures.items()})

"""What is looked at in an analysis. Standard library only, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tiednmt.analysis.choices import EXPORT_FORMATS, PCA, PROJECTIONS
from tiednmt.options import option, positive


@dataclass(frozen=True)
class Options:
    """What is looked at: words for neighbours, how many and how on the map, sentences."""

    data: Path | None = option(
        "folder of preprocess.*, or a data-bin (default: where a checkpoint says)",
        default=None,
        metavar="PREPARED",
    )
    similarity: tuple[Path, ...] = option(
        "word-similarity sets, or folders of them (python -m preprocess.wordsim)", default=()
    )
    words: tuple[str, ...] = option("show their nearest neighbours", default=(), metavar="WORD")
    map: str = option("the map's method", default=PCA, choices=PROJECTIONS)
    map_words: int = option(
        "so many of the most frequent words on the map", default=300, type=positive
    )
    sentences: Path | None = option(
        "raw source text, a sentence per line: show the attention of its translation",
        default=None,
        metavar="FILE",
    )
    export: str | None = option(
        "write the embeddings for other tools", default=None, choices=EXPORT_FORMATS
    )
    cpu: bool = option("run on the CPU, even with a GPU", default=False)

"""The options of ``tiednmt analyse``. Standard library only, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tiednmt.analysis.choices import EXPORT_FORMATS, PCA, PROJECTIONS
from tiednmt.options import option, positive


@dataclass(frozen=True)
class Options:
    """What to analyse: test sets, words whose neighbours are shown, the map of words, sentences."""

    data: Path | None = option(
        "prepared folder or data-bin (default: the one that the checkpoint names)",
        default=None,
        metavar="PREPARED",
    )
    similarity: tuple[Path, ...] = option(
        "word-similarity sets, or folders of them (python -m preprocess.wordsim)", default=()
    )
    words: tuple[str, ...] = option(
        "words whose nearest neighbours are shown", default=(), metavar="WORD"
    )
    map: str = option("method of the map", default=PCA, choices=PROJECTIONS)
    map_words: int = option("show the N most frequent words on the map", default=300, type=positive)
    sentences: Path | None = option(
        "raw source text, one sentence per line, whose attention is shown",
        default=None,
        metavar="FILE",
    )
    export: str | None = option(
        "write the embeddings for other tools", default=None, choices=EXPORT_FORMATS
    )
    cpu: bool = option("run on the CPU even if there is a GPU", default=False)

"""A prepared folder as translation and scoring see it."""

from __future__ import annotations

from pathlib import Path

from scripts.lab.score.standard_sets import is_standard, standard_pairs
from tiednmt.errors import UserError
from tiednmt.text.lines import read_lines
from tiednmt.text.manifest import data_bins, read_manifest
from tiednmt.text.pipeline import TextPipeline


class Prepared:
    """What a prepared folder (``python -m preprocess.*``) holds for translating and scoring.

    Raises:
        UserError: the folder is not a prepared one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_bin = data_bins(folder)[0]
        self.pipeline = TextPipeline.load(folder)
        self.subsets = list(read_manifest(folder).get("subsets", ()))

    def pairs(self, subset: str) -> tuple[list[str], list[str]]:
        """The raw source lines and the raw references of a subset, or of one sacreBLEU knows."""
        if subset not in self.subsets:
            if is_standard(subset):
                return standard_pairs(subset, self.pipeline.source, self.pipeline.target)
            known = ", ".join(self.subsets)
            raise UserError(f"--subset {subset}: {self.folder} has no such subset, only {known}")
        languages = (self.pipeline.source, self.pipeline.target)
        files = [self.folder / "raw" / f"{subset}.{language}" for language in languages]
        source, references = (list(read_lines(file)) for file in files)
        if len(source) != len(references):
            raise UserError(
                f"{files[0]} has {len(source):,} lines but {files[1]} {len(references):,}; "
                "prepare the corpus again"
            )
        return source, references

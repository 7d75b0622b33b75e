"""A prepared folder as translation and scoring see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tiednmt.errors import UserError
from tiednmt.files import sha256
from tiednmt.text.lines import read_lines
from tiednmt.text.manifest import RAW, data_bins, read_manifest, reference_file
from tiednmt.text.pipeline import TextPipeline
from tiednmt.text.subwords import CODES, PIECES, vocabulary_file
from tiednmt.translation.standard_sets import is_standard, standard_set


@dataclass(frozen=True)
class TestSet:
    """Raw source lines and raw references of each of them."""

    source: list[str]
    references: list[list[str]]  # one list per reference of all lines


class Prepared:
    """What a prepared folder (``python -m preprocess.*``) holds for translating and scoring.

    Raises:
        UserError: the folder is not a prepared one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_bin = data_bins(folder)[0]
        self.pipeline = TextPipeline.load(folder)
        self._manifest = read_manifest(folder)
        self.subsets = list(self._manifest.get("subsets") or ())

    def pairs(self, subset: str) -> tuple[list[str], list[str]]:
        """The raw source lines and the first raw references of a set, see :meth:`test_set`."""
        test_set = self.test_set(subset)
        return test_set.source, test_set.references[0]

    def test_set(self, subset: str) -> TestSet:
        """A subset, or a test set that sacreBLEU knows.

        Raises:
            UserError: there is none of that name, or its sides are not of one length.
        """
        if subset not in self.subsets:
            if is_standard(subset):
                return TestSet(*standard_set(subset, *self.pipeline.languages))
            known = ", ".join(self.subsets)
            raise UserError(f"--subset {subset}: {self.folder} has no such subset, only {known}")
        files = self._raw_files(subset)
        source, *references = (list(read_lines(file)) for file in files)
        for file, lines in zip(files[1:], references, strict=True):
            if len(source) != len(lines):
                raise UserError(
                    f"{files[0]} has {len(source):,} lines but {file} {len(lines):,}; "
                    "prepare the corpus again"
                )
        if not source:
            raise UserError(f"{files[0]}: there are no lines to score in {subset}")
        return TestSet(source, references)

    def require_as_prepared(self, subsets: Iterable[str] = ()) -> None:
        """Refuse a folder whose segmentation or sets are not those that were prepared.

        Raises:
            UserError: a file has not the hash that the manifest has of it.
        """
        files = [file for subset in subsets if subset in self.subsets
                 for file in self._raw_files(subset)]  # fmt: skip
        folder = self.pipeline.folder
        segmentation = [folder / CODES, folder / PIECES]
        segmentation += [vocabulary_file(folder, code) for code in self.pipeline.languages]
        self._require([*segmentation, *files])

    def require_dictionaries_as_prepared(self) -> None:
        """The same of the dictionaries, which models look at first.

        Raises:
            UserError: a file has not the hash that the manifest has of it.
        """
        languages = self.pipeline.languages
        self._require([self.data_bin / f"dict.{language}.txt" for language in languages])

    def _require(self, files: Iterable[Path]) -> None:
        recorded = self._manifest.get("files")
        for file in files:
            digest = (recorded or {}).get(str(file.relative_to(self.folder)))
            if digest is not None and (not file.is_file() or sha256(file) != digest):
                raise UserError(
                    f"{file}: not the file that was prepared, by the hash in"
                    f" {self.folder / 'manifest.json'}; copy the folder again or prepare it again"
                )

    def _raw_files(self, subset: str) -> list[Path]:
        """The source and each reference."""
        source, target = (
            self.folder / RAW / f"{subset}.{language}" for language in self.pipeline.languages
        )
        references = (self._manifest.get("references") or {}).get(subset, 1)
        return [source, *(reference_file(target, i) for i in range(1, references + 1))]

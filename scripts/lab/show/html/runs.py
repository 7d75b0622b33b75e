"""What the page is made of: a record, and what the run's folder holds beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.files import read_lines
from scripts.evaluate import file_name
from scripts.lab.records.schema import ExperimentRecord, Record, TranslationRecord
from scripts.lab.run.specs import folder_name
from scripts.lab.score.translate import Prepared
from scripts.lab.show.html import analyses
from scripts.lab.show.html.analyses import Analysis, read_analysis
from scripts.lab.show.html.samples import Sample, make_sample, where_rows_differ
from scripts.lab.store import read_record
from tiednmt.analysis.checkpoints import load as load_checkpoint
from tiednmt.errors import UserError
from tiednmt.tying import TieMap

DIFFERENT = 6  # samples shown where the rows differ


@dataclass(frozen=True)
class Samples:
    """Translations worth a look; ``different`` is empty where a record is all there is."""

    spread: Sequence[Sample]  # evenly over the first test set
    different: Sequence[Sample] = ()
    lines: int = 0  # of the test set that they were chosen from
    languages: tuple[str, str] = ("", "")  # codes of source and target


@dataclass(frozen=True)
class Run:
    """An experiment that was run to its end."""

    record: Record
    samples: Samples | None  # of a translation experiment
    ties: Mapping[str, TieMap]  # by row, where the checkpoints are at hand
    analysis: Analysis | None = None  # of its embeddings, from the folder ``analysis`` in it


@dataclass(frozen=True)
class AnalysisAlone:
    """A folder of ``python -m scripts.analyse``."""

    name: str
    analysis: Analysis


def load(path: Path) -> Run | AnalysisAlone:
    """A run's folder, a record alone, or the folder of an analysis.

    Raises:
        UserError: it is neither, or a file of it cannot be used.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_file():
        return Run(record := read_record(path), _recorded_samples(record), {})
    if (path / analyses.FILE).is_file():
        return AnalysisAlone(path.resolve().name, read_analysis(path / analyses.FILE))
    if not (path / "record.json").is_file():
        raise UserError(
            f"{path}: holds no record.json, so it is no finished run, and no {analyses.FILE} of "
            "an analysis either; run the experiment to its end first"
        )
    record = read_record(path / "record.json")
    analysis = path / "analysis" / analyses.FILE
    return Run(
        record,
        _samples(record, path),
        _ties(record, path),
        read_analysis(analysis) if analysis.is_file() else None,
    )


def _ties(record: Record, folder: Path) -> dict[str, TieMap]:
    data_bin = folder / "data" / "data-bin"
    rows = record.row_names if isinstance(record, ExperimentRecord) else []
    checkpoints = {row: folder / folder_name(row) / "checkpoint_best.pt" for row in rows}
    return {
        row: load_checkpoint(path, data_bin).tie_map
        for row, path in checkpoints.items()
        if path.is_file() and data_bin.is_dir()
    }


def _recorded_samples(record: Record) -> Samples | None:
    if not isinstance(record, TranslationRecord):
        return None
    rows = record.row_names
    return Samples(
        [
            make_sample(text["source"], text["reference"], {row: text[row] for row in rows})
            for text in record.samples
        ]
    )


def _samples(record: Record, folder: Path) -> Samples | None:
    """The recorded ones, and those found in the translations of the first test set."""
    recorded = _recorded_samples(record)
    if not isinstance(record, TranslationRecord) or recorded is None:
        return None
    if not (folder / "data" / "manifest.json").is_file():
        return recorded
    prepared = Prepared(folder / "data")
    subset = next(iter(record.rows[0].test))
    languages = (prepared.pipeline.source, prepared.pipeline.target)
    files = {
        row: folder / "translations" / f"{file_name(row)}.{subset}.{languages[1]}"
        for row in record.row_names
    }
    if not all(file.is_file() for file in files.values()):
        return recorded
    sources, references = prepared.pairs(subset)
    translations = {row: list(read_lines(file)) for row, file in files.items()}
    for row, lines in translations.items():
        if len(lines) != len(sources):
            raise UserError(
                f"{files[row]}: {len(lines):,} lines for {len(sources):,} sources; "
                "remove scores.json and run the experiment again"
            )
    different = where_rows_differ(sources, references, translations, DIFFERENT)
    return Samples(recorded.spread, different, len(sources), languages)

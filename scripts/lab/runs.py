"""What the report shows of a run: its record and further files of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.lab.records.schema import ExperimentRecord, Record, TranslationRecord
from scripts.lab.run.specs import folder_name
from scripts.lab.run.training import BEST
from scripts.lab.show.html.page import Section
from scripts.lab.show.html.samples import Samples, make_sample, where_rows_differ
from scripts.lab.store import figures_of, read_record
from tiednmt.analysis.checkpoints import load as load_checkpoint
from tiednmt.embeddings import figures as of_analysis
from tiednmt.embeddings.record import FILE, read_analysis
from tiednmt.errors import UserError
from tiednmt.files import file_name
from tiednmt.show.figures import Part
from tiednmt.show.parts import tie_blocks
from tiednmt.text.lines import read_lines
from tiednmt.text.manifest import MANIFEST
from tiednmt.translation.prepared import Prepared

DIFFERENT = 6  # samples shown where the rows differ


def load(path: Path) -> Section:
    """A run's folder, a record alone, or the folder of an analysis.

    Raises:
        UserError: it is none of these, or one of its files cannot be used.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_file():
        return _section(read_record(path), None)
    if (path / FILE).is_file():
        title = f"Embeddings: {path.resolve().name}"
        return Section(of_analysis.figures(read_analysis(path / FILE), title))
    if not (path / "record.json").is_file():
        raise UserError(
            f"{path}: holds no record.json, so it is not a finished run, and no {FILE} of "
            "an analysis either; run the experiment to its end first"
        )
    return _section(read_record(path / "record.json"), path)


def _section(record: Record, folder: Path | None) -> Section:
    figures = figures_of(record)
    if folder is None:
        return Section(figures, samples=_recorded_samples(record))
    analysis = folder / "analysis" / FILE
    rows = record.row_names if isinstance(record, ExperimentRecord) else []
    return Section(
        figures,
        more=_ties(rows, folder),
        analysis=of_analysis.figures(read_analysis(analysis)) if analysis.is_file() else None,
        samples=_samples(record, folder),
    )


def _ties(rows: Sequence[str], folder: Path) -> list[Part]:
    """Which matrices are tied, for the rows whose checkpoints are available."""
    data_bin = folder / "data" / "data-bin"
    paths = {row: folder / folder_name(row) / BEST for row in rows}
    ties = {
        row: load_checkpoint(path, data_bin).tie_map
        for row, path in paths.items()
        if path.is_file() and data_bin.is_dir()
    }
    if not ties:
        return []
    return [Part("Which matrices are one", tie_blocks(ties, {}))]


def _recorded_samples(record: Record) -> Samples | None:
    if not isinstance(record, TranslationRecord):
        return None
    return Samples(
        next(iter(record.rows[0].test)),
        [
            make_sample(text["source"], text["reference"], {n: text[n] for n in record.row_names})
            for text in record.samples
        ],
    )


def _samples(record: Record, folder: Path) -> Samples | None:
    """Recorded samples, and sentences of the first test set that the rows translate differently."""
    recorded = _recorded_samples(record)
    if not isinstance(record, TranslationRecord) or recorded is None:
        return None
    if not (folder / "data" / MANIFEST).is_file():
        return recorded
    prepared = Prepared(folder / "data")
    languages = (prepared.pipeline.source, prepared.pipeline.target)
    files = {
        name: folder / "translations" / f"{file_name(name)}.{recorded.subset}.{languages[1]}"
        for name in record.row_names
    }
    if not all(file.is_file() for file in files.values()):
        return recorded
    sources, references = prepared.pairs(recorded.subset)
    translations = {row: list(read_lines(file)) for row, file in files.items()}
    for row, lines in translations.items():
        if len(lines) != len(sources):
            raise UserError(
                f"{files[row]}: {len(lines):,} lines for {len(sources):,} sources; "
                "remove scores.json and run the experiment again"
            )
    different = where_rows_differ(sources, references, translations, DIFFERENT)
    return replace(recorded, different=different, lines=len(sources), languages=languages)

"""What the report shows of a run: its record, and what its folder holds beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preprocess.files import read_lines
from scripts.lab.figures import analysis as of_analysis
from scripts.lab.figures.parts import tie_bars, tie_table
from scripts.lab.kinds import KINDS
from scripts.lab.records.analysis import FILE, read_analysis
from scripts.lab.records.figures import Figures, Part, Picture
from scripts.lab.score.systems import file_name
from scripts.lab.records.schema import Record, read_record
from scripts.lab.score.translate import Prepared
from scripts.lab.show.html.page import Section
from scripts.lab.show.html.samples import Samples, make_sample, where_rows_differ
from tiednmt.analysis.checkpoints import load as load_checkpoint
from tiednmt.errors import UserError

DIFFERENT = 6  # samples shown where the rows differ


def load(path: Path) -> Section:
    """A run's folder, a record alone, or the folder of an analysis.

    Raises:
        UserError: it is neither, or a file of it cannot be used.
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
            f"{path}: holds no record.json, so it is no finished run, and no {FILE} of "
            "an analysis either; run the experiment to its end first"
        )
    return _section(read_record(path / "record.json"), path)


def _section(record: Record, folder: Path | None) -> Section:
    figures = KINDS[record.kind].figures(record)
    if folder is None:
        return Section(figures, samples=_recorded_samples(figures))
    analysis = folder / "analysis" / FILE
    return Section(
        figures,
        more=_ties(figures.names, folder),
        analysis=of_analysis.figures(read_analysis(analysis)) if analysis.is_file() else None,
        samples=_samples(figures, folder),
    )


def _ties(rows: Sequence[str], folder: Path) -> list[Part]:
    """Which matrices are one in the rows whose checkpoints are at hand."""
    data_bin = folder / "data" / "data-bin"
    paths = {row: folder / row.replace(" ", "-") / "checkpoint_best.pt" for row in rows}
    ties = {
        row: load_checkpoint(path, data_bin).tie_map
        for row, path in paths.items()
        if path.is_file() and data_bin.is_dir()
    }
    if not ties:
        return []
    blocks = [tie_table(ties, {}), Picture("parameters", [tie_bars(ties)])]
    return [Part("Which matrices are one", blocks)]

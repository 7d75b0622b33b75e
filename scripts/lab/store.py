"""Records on disk: read, written, kept under ``results/``, and the pages made from them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from scripts.lab.figures.benchmark import summary_table
from scripts.lab.figures.translation import (
    about_mean_differences,
    at_a_glance,
    mean_over_experiments,
)
from scripts.lab.kinds import KINDS
from scripts.lab.kinds.kind import Kind
from scripts.lab.records.schema import FORMAT, BenchmarkRecord, Record, TranslationRecord
from scripts.lab.run.specs import ROOT
from tiednmt.errors import UserError
from tiednmt.files import read_json, write_json, write_whole
from tiednmt.show import markdown
from tiednmt.show.figures import Figures
from tiednmt.show.pictures import draw
from tiednmt.typed import Fault, from_json, to_json

RESULTS = ROOT / "results"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"(<!-- (table|options): (\S+) -->\n)(?:(?!<!--).*\n)*(<!-- end -->)")

_MARK = re.compile(r"^\s*<!--\s*(?:table|options)\b", re.MULTILINE)

R = TypeVar("R", bound=Record)


def read_record(path: Path) -> Record:
    """The record in ``path``.

    Raises:
        UserError: it is not a record, is damaged, or has another format.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"experiment", "format"} & content.keys():
        raise UserError(
            f"{path}: no record of an experiment; give the folder of a finished run "
            "(python -m scripts.reproduce), or a record kept from one"
        )
    if content.get("format") != FORMAT:
        found = f"format {content['format']!r}" if "format" in content else "no format"
        raise UserError(
            f"{path}: a record of {found}, and this version reads format {FORMAT}; remove it "
            "and run its experiment again, or use the version that wrote it"
        )
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"{path}: kind {kind!r}; there are {', '.join(KINDS)}")
    return _checked(path, content)


def write_record(path: Path, record: R) -> R:
    """Write ``record``, and return it as it will be read.

    Raises:
        UserError: a field does not fit the kind of the record; nothing is written.
    """
    content = {"format": FORMAT, **to_json(record)}
    for name in ("machine", "versions", "command"):  # come last
        content[name] = content.pop(name)
    checked = _checked(path, json.loads(json.dumps(content)))
    write_json(path, content)
    return checked


def write_figures(record: Record, folder: Path) -> str:
    """Write ``table.md`` and the pictures of a record; returns the text of the table."""
    figures = figures_of(record)
    text = markdown.page(figures)
    with write_whole(folder / "table.md") as file:
        file.write(text)
    draw(figures.pictures, folder)
    return text


def figures_of(record: Record) -> Figures:
    """The tables and charts of a record."""
    figures: Figures = kind_of(record).figures(record)
    return figures


def summary_of(record: Record) -> str:
    """The Markdown of a record on a page with several."""
    return markdown.blocks(figures_of(record).summary)


def kind_of(record: Record) -> Kind[Any]:
    """The kind of a record."""
    return KINDS[record.kind]


def _checked(path: Path, content: dict[str, Any]) -> Any:
    fields = {name: value for name, value in content.items() if name != "format"}
    try:
        return from_json(KINDS[content["kind"]].record, fields)
    except Fault as fault:
        raise UserError(
            f"{path}: {fault}, so it is damaged; run its experiment again to rewrite it"
        ) from fault


# --- results/ ----------------------------------------------------------------------------------


def keep(run: Path) -> Path:
    """Copy a run's record to ``results/``, joined with the one kept of the same experiment.

    The pictures that a page shows are drawn beside it, as ``EXPERIMENT-PICTURE``.

    Raises:
        UserError: the run is not finished, or rows or seeds that were kept would be lost.
    """
    source = run / "record.json"
    if not source.is_file():
        raise UserError(f"{source}: no such file; run the experiment to its end first")
    record = read_record(source)
    target = RESULTS / f"{record.experiment}.json"
    if target.is_file():
        kept = read_record(target)
        if kept.kind != record.kind:
            raise UserError(f"{target}: of the kind {kept.kind}, not {record.kind}; delete it")
        try:
            record = kind_of(record).join(kept, record)
        except Fault as fault:
            raise UserError(f"{source} does not join {target}: {fault}") from fault
    record = write_record(target, record)
    pictures = figures_of(record).pictures
    named = [replace(one, name=f"{record.experiment}-{one.name}") for one in pictures]
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    draw([one for one in named if any(f"/{one.name}.svg)" in page for page in pages)], RESULTS)
    return target


# --- pages -------------------------------------------------------------------------------------


def disagreeing_pages() -> dict[Path, str]:
    """The pages whose tables disagree with the records, and what these pages should say."""
    wanted = {}
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = with_tables(before)
        if after != before:
            wanted[page] = after
    return wanted


def renew_pages() -> None:
    """Write the tables of the records into the pages."""
    for page, text in disagreeing_pages().items():
        with write_whole(page) as file:
            file.write(text)


def with_tables(text: str) -> str:
    """``text`` with everything between ``<!-- table: NAME -->`` and ``<!-- end -->`` made anew.

    Likewise ``<!-- options: NAME -->``: see :func:`scripts.lab.options_page.table`.

    Raises:
        UserError: a table whose record is not under ``results/``, or a misspelt mark.
    """
    if len(_MARK.findall(text)) != len(_BLOCK.findall(text)):
        raise UserError(
            "a mark of a table is misspelt; write <!-- table: NAME --> and <!-- end -->, each on a"
            " line of its own"
        )
    return _BLOCK.sub(lambda block: f"{block[1]}{_content(block[2], block[3])}\n{block[4]}", text)


def _content(what: str, name: str) -> str:
    if what == "table":
        return table(name)
    from scripts.lab import options_page  # which loads every command

    return options_page.table(name)


def table(name: str) -> str:
    """The Markdown table of ``results/NAME.json``.

    ``NAME+NAME`` is the mean over several translation experiments, ``glance:NAME+NAME`` a short
    table of them, ``benchmarks`` has a row per benchmark and ``benchmarks:NAME+NAME`` those alone.
    """
    form, colon, names = name.partition(":")
    if form == "benchmarks":
        return _benchmarks(names.split("+") if colon else ["*"])
    if form == "glance" and colon:
        return markdown.table(at_a_glance(_translations(names)))
    if "+" in name:
        records = _translations(name)
        means = markdown.table(mean_over_experiments(records))
        return f"{means}\n\nDifferences: {about_mean_differences(records)}"
    return summary_of(_kept(name))


def _benchmarks(names: Sequence[str]) -> str:
    paths = [path for name in names for path in sorted(RESULTS.glob(f"benchmark-{name}.json"))]
    records = [record for record in map(read_record, paths) if isinstance(record, BenchmarkRecord)]
    if len(records) < len(names):
        raise UserError(f"a page asks for the benchmarks {', '.join(names)}; some are not kept")
    return markdown.table(summary_table(records))


def _kept(name: str) -> Record:
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        raise UserError(f"a page asks for the table {name}, but there is no {path}")
    return read_record(path)


def _translations(names: str) -> list[TranslationRecord]:
    records = [_kept(name) for name in names.split("+")]
    translations = [record for record in records if isinstance(record, TranslationRecord)]
    if len(translations) < len(records):
        raise UserError("only translation experiments have a table of several")
    return translations

"""Keep a run's record under results/ and make the pages' tables from the records kept there.

python -m scripts.record runs/multi30k-en-de   # results/multi30k-en-de.json, then the pages
python -m scripts.record                       # the pages alone
python -m scripts.record --check               # exit status 1 if one of them disagrees
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from preprocess.files import write_json, write_whole
from scripts import search_projection
from scripts.lab.kinds.language_model import LanguageModelResults
from scripts.lab.records.shapes import read_json
from scripts.lab.run.specs import ROOT
from scripts.lab.runner import RESULTS_OF_TASK
from scripts.lab.show.markdown import benchmark_summary, benchmark_table
from tiednmt.errors import UserError, one_line_errors

RESULTS = ROOT / "results"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"(<!-- table: (\S+) -->\n)(?:(?!<!--).*\n)*(<!-- end -->)")


def with_tables(text: str) -> str:
    """``text`` with what stands between ``<!-- table: NAME -->`` and ``<!-- end -->`` renewed.

    Raises:
        UserError: a table whose record is not under ``results/``.
    """
    return _BLOCK.sub(lambda block: f"{block[1]}{table(block[2])}\n{block[3]}", text)


def table(name: str) -> str:
    """The Markdown table of ``results/NAME.json``; ``benchmarks``: a row for each benchmark."""
    if name == "benchmarks":
        paths = sorted(RESULTS.glob("benchmark-*.json"))
        return benchmark_summary([json.loads(p.read_text(encoding="utf-8")) for p in paths])
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        raise UserError(f"a page asks for the table {name}, but there is no {path}")
    record = json.loads(path.read_text(encoding="utf-8"))
    if "benchmark" in record:
        return benchmark_table(record)
    if "readings" in record:
        return search_projection.table(record)
    return RESULTS_OF_TASK[record["task"]].table(record)


def keep(run: Path) -> Path:
    """Copy a run's record to ``results/``, where it joins what was kept of other rows or seeds of a
    language model, or of other readings.
    """
    source = run / "record.json"
    if not source.is_file():
        raise UserError(f"{source}: no such file; run the experiment to its end first")
    record = read_json(source)
    if not isinstance(record, dict) or "experiment" not in record:
        raise UserError(f"{source}: no record of an experiment; run the experiment again")
    target = RESULTS / f"{record['experiment']}.json"
    if target.is_file():
        record = _joined(read_json(target), record)
    write_json(target, record)
    return target


def _joined(kept: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    if "readings" in new:
        return search_projection.joined(kept, new)
    results = RESULTS_OF_TASK[new["task"]]
    return results.joined(kept, new) if issubclass(results, LanguageModelResults) else new


@one_line_errors
def main() -> None:
    """Keep the records named, then write or check the pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folder of an experiment")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    args = parser.parse_args()
    if args.check and args.runs:
        parser.error("--check goes without runs")
    for run in args.runs:
        print(keep(run))
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = with_tables(old)
        if old == new:
            continue
        if args.check:
            raise UserError(f"{page.name} disagrees with results/; run python -m scripts.record")
        with write_whole(page) as file:
            file.write(new)


if __name__ == "__main__":
    main()

"""Keep a run's record in results/, and make the tables of the pages from these records.

python -m scripts.record runs/multi30k-en-de   # results/multi30k-en-de.json, then the pages
python -m scripts.record                       # only the pages
python -m scripts.record --check               # exit status 1 if a page disagrees
"""

from __future__ import annotations

from pathlib import Path

from scripts.lab.store import disagreeing_pages, keep, renew_pages
from tiednmt.commandline import command_parser
from tiednmt.errors import UserError, one_line_errors


@one_line_errors
def main() -> None:
    """Keep the records named, then write or check the pages."""
    parser = command_parser("python -m scripts.record", __doc__)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folder of an experiment")
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    args = parser.parse_args()
    if args.check and args.runs:
        parser.error("--check takes no runs")
    for run in args.runs:
        print(keep(run))
    if not args.check:
        renew_pages()
    for page in disagreeing_pages():
        raise UserError(f"{page.name} disagrees with results/; run python -m scripts.record")


if __name__ == "__main__":
    main()

"""Gather finished experiments into one self-contained HTML page.

A RUN is the folder of an experiment, with what python -m scripts.analyse left in its folder
"analysis", if anything; or a record kept from one (results/NAME.json), which has no tie maps and
fewer sample translations; or the folder of an analysis alone.

  python -m scripts.report runs/multi30k-en-de runs/ptb-small
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from scripts.lab.runs import load
from scripts.lab.show.html.page import render
from tiednmt.commandline import command_parser, quiet_libraries
from tiednmt.errors import UserError, one_line_errors
from tiednmt.files import write_whole


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("python -m scripts.report", __doc__)
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder of an experiment or an analysis, or a record",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/report.html"),
        metavar="FILE",
        help="page to write (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.out.is_dir():
        raise UserError(f"--out {args.out}: a folder; give the name of a file")
    quiet_libraries()
    command = shlex.join(["python", "-m", "scripts.report", *map(str, args.runs)])
    page = render([load(path) for path in args.runs], command)
    with write_whole(args.out) as file:
        file.write(page)
    print(f"{args.out}: {len(args.runs)} record(s)")


if __name__ == "__main__":
    main()

"""Compare our speed with the obvious alternatives; the two sides alternate in one run.

  python -m scripts.benchmark train --data runs/multi30k-en-de/data --precision bf16
  python -m scripts.benchmark start-up --data runs/multi30k-en-de/data
  python -m scripts.benchmark growth --json results/benchmark-growth.json
  python -m scripts.benchmark language-model --data runs/ptb-small/data --against loop
  python -m scripts.benchmark generate --run runs/multi30k-en-de
  python -m scripts.benchmark output-layer
  python -m scripts.benchmark gradients --data runs/multi30k-en-de/data --max-tokens 4000
  python -m scripts.benchmark preprocess --raw multi30k

Both sides do the same work with the same sizes, batches and threads, in turn (A B A B …). The first
pair is a warm-up. The record has the medians, and the ratio per pair.
(growth: one process per side and cell, in turn; its first update warms up. gradients: one process.)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.lab.benchmarks.catalogue import BENCHMARKS, run
from scripts.lab.store import figures_of, summary_of, write_record
from tiednmt.commandline import command_parser
from tiednmt.errors import one_line_errors
from tiednmt.options import add_options, from_arguments
from tiednmt.show.pictures import draw


def parser() -> argparse.ArgumentParser:
    """The command line: a sub-command per benchmark, its options from a dataclass."""
    whole = command_parser("python -m scripts.benchmark", __doc__)
    commands = whole.add_subparsers(required=True, metavar="WHAT", dest="benchmark")
    for name, benchmark in BENCHMARKS.items():
        description = (
            f"{benchmark.help[0].upper()}{benchmark.help[1:]}. Measured: {benchmark.what}."
        )
        command = commands.add_parser(name, help=benchmark.help, description=description)
        add_options(command, benchmark.options)
        command.add_argument("--json", type=Path, metavar="FILE", help="write the record here")
    return whole


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    args = parser().parse_args(argv)
    record = run(args.benchmark, from_arguments(BENCHMARKS[args.benchmark].options, args))
    print(summary_of(record))
    if args.json:
        write_record(args.json, record)
        pictures = figures_of(record).pictures
        draw([replace(picture, name=args.json.stem) for picture in pictures], args.json.parent)


if __name__ == "__main__":
    main()

"""Train none, decoder and three-way on one corpus and compare them.

Without options: a small generated English-German corpus, a few minutes on two CPU cores. Started
again after an interruption, it goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from scripts.experiments import run_experiment
from scripts.recipes import load_experiment
from scripts.tables import samples_table, translation_table
from tiednmt.errors import one_line_errors


@one_line_errors
def main() -> None:
    """Run the experiment and print its table."""
    parser = argparse.ArgumentParser(prog="./scripts/quickstart.sh", description=__doc__)
    parser.add_argument(
        "--data",
        choices=("demo", "multi30k"),
        default="demo",
        help="demo: a generated corpus (default); multi30k: image captions, downloaded or --raw",
    )
    parser.add_argument(
        "--pair", choices=("en-de", "en-fr"), default="en-de", help="languages of multi30k"
    )
    parser.add_argument(
        "--raw", type=Path, metavar="DIR", help="multi30k's raw files, instead of a download"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to fill (default: runs/EXPERIMENT)"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="models trained side by side (default: one a core)"
    )
    args = parser.parse_args()
    if args.data == "demo" and (args.raw or args.pair != "en-de"):
        parser.error("--raw and --pair go with --data multi30k")
    name = "demo" if args.data == "demo" else f"multi30k-{args.pair}"
    started = time.monotonic()
    out = args.out or Path("runs") / name
    record = run_experiment(load_experiment(name), out, _command(args), args.raw, args.jobs)
    print(f"\n{translation_table(record)}\n\n{samples_table(record)}\n")
    print(f"table, record and plots: {out}; {time.monotonic() - started:.0f} s in all")


def _command(args: argparse.Namespace) -> str:
    """The command line to record: without the folders, which are another's elsewhere."""
    words = ["./scripts/quickstart.sh"]
    if args.data != "demo":
        words += ["--data", args.data, "--pair", args.pair]
    if args.jobs:
        words += ["--jobs", str(args.jobs)]
    return " ".join(words)


if __name__ == "__main__":
    main()

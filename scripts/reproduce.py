"""Train all models of an experiment, score them, and show a table beside the paper's figures.

Started again after an interruption, the same command goes on where it was. The folder of the
experiment holds in the end record.json, table.md, the plots and every trained model.

  python -m scripts.reproduce ptb-small --seeds 3
"""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.common import positive, seed_numbers
from scripts.lab.run.specs import experiment_names, load_experiment
from scripts.lab.runner import results_of, run_experiment
from tiednmt.errors import one_line_errors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that runs an experiment."""
    parser.add_argument(
        "--raw", type=Path, metavar="DIR", help="the corpus' raw files, instead of a download"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to fill (default: runs/EXPERIMENT)"
    )
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="models trained side by side (default: one a GPU, or one a core without)",
    )
    parser.add_argument(
        "--seeds",
        type=seed_numbers,
        metavar="N",
        help="train each model with the seeds 1 to N, or from one to another: 2-3 (default: 1)",
    )
    parser.add_argument(
        "--rows", nargs="+", metavar="ROW", help="rows of the table to train (default: all)"
    )


def reproduce(
    name: str, command: str, args: argparse.Namespace, wordsim: Path | None = None
) -> None:
    """Run the experiment ``name`` with the options of :func:`add_arguments`; print its table.

    Recorded is ``command`` with --rows, --seeds and --jobs: the folders are another's elsewhere.
    """
    started = time.monotonic()
    experiment = load_experiment(name)
    out = args.out or Path("runs") / name
    if args.rows:
        experiment = experiment.only(args.rows)
        command += f" --rows {shlex.join(args.rows)}"
    if args.seeds:
        command += f" --seeds {_shown(args.seeds)}"
    if args.jobs:
        command += f" --jobs {args.jobs}"
    seeds = args.seeds or (1,)
    record = run_experiment(experiment, out, command, args.raw, args.jobs, seeds, wordsim)
    print(f"\n{results_of(experiment).page(record)}\n")
    print(f"table, record and plots: {out}; {time.monotonic() - started:.0f} s in all")


def _shown(seeds: Sequence[int]) -> str:
    return f"{seeds[0]}-{seeds[-1]}" if seeds[0] > 1 else str(seeds[-1])


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "experiment", metavar="EXPERIMENT", help=f"one of {', '.join(experiment_names())}"
    )
    add_arguments(parser)
    parser.add_argument(
        "--wordsim",
        type=Path,
        metavar="DIR",
        help="the word-similarity sets (experiments on embeddings), instead of a download",
    )
    args = parser.parse_args(argv)
    command = f"python -m scripts.reproduce {args.experiment}"
    reproduce(args.experiment, command, args, args.wordsim)


if __name__ == "__main__":
    main()

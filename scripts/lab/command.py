"""What the commands that run an experiment have in common."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from scripts.lab.records.schema import Record
from scripts.lab.run.specs import ROOT, load_experiment
from scripts.lab.runner import Options, run_experiment
from tiednmt.options import positive

MOST_SEEDS = 1000


def seed_numbers(text: str) -> tuple[int, ...]:
    """``3``: the seeds 1 to 3; ``2-3``: those; for argparse."""
    first, dash, last = text.partition("-")
    numbers = range(0)
    with suppress(argparse.ArgumentTypeError):
        numbers = range(positive(first) if dash else 1, positive(last if dash else first) + 1)
    if not 0 < len(numbers) <= MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"{text}: give 1 to {MOST_SEEDS} seeds, as 3 or 2-3")
    return tuple(numbers)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that runs an experiment."""
    parser.add_argument(
        "--raw", type=Path, metavar="DIR", help="raw files of the corpus, instead of a download"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to fill (default: runs/EXPERIMENT)"
    )
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="models to train in parallel (default: one per GPU, or one per core)",
    )
    parser.add_argument(
        "--seeds",
        type=seed_numbers,
        metavar="N",
        help="train each model with seeds 1 to N, or with a range such as 2-3 (default: 1)",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        action="extend",
        metavar="ROW",
        help="rows of the table to train (default: all)",
    )


def reproduce(
    name: str, command: str, args: argparse.Namespace, wordsim: Path | None = None
) -> None:
    """Run the experiment ``name`` with the options of :func:`add_arguments`; print its table."""
    started = time.monotonic()
    _, out = run(name, command, args, wordsim)
    print(f"\n{(out / 'table.md').read_text(encoding='utf-8')}")
    print(f"table, record and plots: {out}; {time.monotonic() - started:.0f} s in all")


def run(
    name: str, command: str, args: argparse.Namespace, wordsim: Path | None = None
) -> tuple[Record, Path]:
    """Run the experiment ``name`` with the options of :func:`add_arguments`.

    ``command`` is recorded with --rows, --seeds and --jobs, but without folders, which differ
    between machines.

    Returns:
        The record, and the folder that holds it.
    """
    experiment = load_experiment(name)
    out = _as_in_the_clone(args.out or Path("runs") / name)
    if args.rows:
        experiment = experiment.only(args.rows)
        command += f" --rows {shlex.join(args.rows)}"
    if args.seeds:
        command += f" --seeds {_shown(args.seeds)}"
    if args.jobs:
        command += f" --jobs {args.jobs}"
    raw, wordsim = (path and _as_in_the_clone(path) for path in (args.raw, wordsim))
    options = Options(raw, wordsim, args.jobs, args.seeds or (1,))
    return run_experiment(experiment, out, command, options), out


def _as_in_the_clone(path: Path) -> Path:
    """A path that names the same place in the clone, where all child processes run."""
    return path if Path.cwd() == ROOT else path.absolute()


def _shown(seeds: Sequence[int]) -> str:
    return f"{seeds[0]}-{seeds[-1]}" if seeds[0] > 1 else str(seeds[-1])

"""How fast this is beside what one would use instead, measured side by side in one run.

  python -m scripts.benchmark train --data runs/multi30k-en-de/data

Both sides train on the same data, sizes, batches and threads, in turn (A B A B …); the first pair
warms up and is not counted. Quoted are the medians, and the ratio pair by pair.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from preprocess.files import write_json
from scripts.experiments import machine, package_versions
from scripts.recipes import ROOT, Recipe, fairseq_train_arguments, load_experiment, merge
from scripts.tables import benchmark_table
from scripts.training import log_entries
from tiednmt.errors import UserError, one_line_errors
from tiednmt.tying import TYINGS

EXPERIMENT = "multi30k-en-de"
OURS, STOCK = "three-way", "fairseq lstm"


def benchmark_training(
    data: Path, tying: str, max_tokens: int, updates: int, runs: int, threads: int
) -> dict[str, Any]:
    """Target tokens a second of ``fairseq-train``, ours against stock ``lstm``.

    Start-up and the first tenth of the updates are left out.
    """
    changes: Recipe = {
        "dataset": {"max_tokens": max_tokens},
        "optimization": {"max_update": updates},
        "common": {"log_interval": max(1, updates // 10)},
        "checkpoint": {"no_save": True},
    }
    rows = load_experiment(EXPERIMENT).rows
    ours = merge(merge(rows[OURS], {"model": {"tying": tying}}), changes)
    stock = merge(rows[STOCK], changes)
    speeds: dict[str, list[float]] = {"ours": [], "against": []}
    for _ in tqdm(range(runs + 1), desc="pairs of runs", unit=" pairs"):
        for side, recipe in (("ours", ours), ("against", stock)):
            speeds[side].append(_tokens_per_second(recipe, data, threads))
    ratios = [a / b for a, b in zip(speeds["ours"][1:], speeds["against"][1:], strict=True)]
    return {
        "benchmark": "train",
        "what": f"fairseq-train, target tokens a second, batches of {max_tokens:,} tokens, "
        "updates 10 % to 100 %",
        "ours": _side(f"tied_gru --tying {tying}", speeds["ours"][1:]),
        "against": _side("fairseq lstm --share-all-embeddings", speeds["against"][1:]),
        "ratio": {
            "median": round(statistics.median(ratios), 3),
            "min": round(min(ratios), 3),
            "max": round(max(ratios), 3),
        },
        "updates": updates,
        "machine": {**machine(1), "threads_per_run": threads},
        "versions": package_versions(),
        "command": f"python -m scripts.benchmark train --data {data} --tying {tying} "
        f"--max-tokens {max_tokens} --updates {updates} --runs {runs} --threads {threads}",
    }


def _side(name: str, speeds: Sequence[float]) -> dict[str, Any]:
    return {
        "name": name,
        "median": round(statistics.median(speeds)),
        "runs": [round(speed) for speed in speeds],
    }


def _tokens_per_second(recipe: Recipe, data: Path, threads: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "train.log"
        command = [sys.executable, "-m", "fairseq_cli.train", str(data / "data-bin")]
        command += [*fairseq_train_arguments(recipe), "--save-dir", folder, "--disable-validation"]
        if not torch.cuda.is_available():
            command.append("--cpu")
        with log.open("w", encoding="utf-8") as output:
            status = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                stdout=output,
                stderr=subprocess.STDOUT,
            ).returncode
        entries = list(log_entries(log, "train_inner"))
        if status or len(entries) < 2:
            tail = "".join(f"  {line}\n" for line in log.read_text().splitlines()[-10:])
            raise UserError(f"a run of the benchmark failed; its last lines:\n{tail}")
    counted = entries[1:]
    seconds = sum(float(e["wpb"]) / float(e["wps"]) for e in counted)
    return sum(float(e["wpb"]) for e in counted) / seconds


@one_line_errors
def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    train = commands.add_parser("train", help="training speed beside fairseq's lstm")
    train.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared folder")
    train.add_argument("--tying", choices=TYINGS, default="three-way")
    train.add_argument("--max-tokens", type=int, default=1000, metavar="N")
    train.add_argument("--updates", type=int, default=100, metavar="N", help="updates a run")
    train.add_argument("--runs", type=int, default=5, metavar="N", help="counted pairs of runs")
    train.add_argument("--threads", type=int, default=1, metavar="N", help="threads of each side")
    train.add_argument("--json", type=Path, metavar="FILE", help="write the record here")
    args = parser.parse_args()
    if not (args.data / "data-bin").is_dir():
        raise UserError(f"{args.data}: no data-bin there; prepare it with python -m preprocess.*")
    record = benchmark_training(
        args.data, args.tying, args.max_tokens, args.updates, args.runs, args.threads
    )
    print(benchmark_table(record))
    if args.json:
        write_json(args.json, record)


if __name__ == "__main__":
    main()

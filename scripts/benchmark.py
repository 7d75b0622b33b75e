"""How fast this is beside what one would use instead, measured side by side in one run.

  python -m scripts.benchmark train --data runs/multi30k-en-de/data
  python -m scripts.benchmark language-model --data runs/ptb-small/data --against loop
  python -m scripts.benchmark preprocess --raw multi30k

Both sides train on the same data, sizes, batches and threads, in turn (A B A B …); the first pair
warms up and is not counted. Quoted are the medians, and the ratio pair by pair.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from preprocess.files import write_json
from scripts import preprocessing
from scripts.arguments import positive
from scripts.experiments import machine, package_versions
from scripts.recipes import ROOT, Recipe, fairseq_train_arguments, load_experiment, merge
from scripts.tables import benchmark_table
from scripts.training import log_entries
from tiednmt.errors import UserError, one_line_errors
from tiednmt.tying import TYINGS

Speed = Callable[[], float]


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    name: str
    speed: Speed  # runs once; how much a second


def compare(ours: Side, against: Side, runs: int) -> dict[str, Any]:
    """``ours``, ``against`` and their ``ratio`` over ``runs`` alternating runs."""
    speeds: dict[Side, list[float]] = {ours: [], against: []}
    for _ in tqdm(range(runs + 1), desc="pairs of runs", unit=" pairs"):
        for side, found in speeds.items():
            found.append(side.speed())
    counted = {side: found[1:] for side, found in speeds.items()}
    ratios = [a / b for a, b in zip(counted[ours], counted[against], strict=True)]
    return {
        "ours": _figures(ours, counted[ours]),
        "against": _figures(against, counted[against]),
        "ratio": {
            "median": round(statistics.median(ratios), 3),
            "min": round(min(ratios), 3),
            "max": round(max(ratios), 3),
        },
    }


def _figures(side: Side, speeds: Sequence[float]) -> dict[str, Any]:
    return {
        "name": side.name,
        "median": round(statistics.median(speeds)),
        "runs": [round(speed) for speed in speeds],
    }


# --- what is compared --------------------------------------------------------------------------


def translation_sides(args: argparse.Namespace) -> tuple[Side, Side]:
    """The tied model and fairseq's ``lstm``, equal in sizes."""
    rows = load_experiment("multi30k-en-de").rows
    changes: Recipe = {"dataset": {"max_tokens": args.max_tokens}}
    ours = merge(merge(rows["three-way"], {"model": {"tying": args.tying}}), changes)
    stock = merge(rows["fairseq lstm"], changes)
    return (
        Side(f"tied_gru --tying {args.tying}", partial(fairseq_speed, ours, args)),
        Side("fairseq lstm --share-all-embeddings", partial(fairseq_speed, stock, args)),
    )


def language_model_sides(args: argparse.Namespace) -> tuple[Side, Side]:
    """A row of the paper's table and the same model in a bare loop or as fairseq's ``lstm_lm``."""
    ours = load_experiment(f"ptb-{args.size}").rows["none"]
    name = f"tied_lstm_lm_{args.size}"
    if args.against == "loop":
        other = Side("PyTorch loop", partial(loop_speed, args))
    else:
        other = Side("fairseq lstm_lm", partial(fairseq_speed, _stock_lstm_lm(ours), args))
    return Side(name, partial(fairseq_speed, ours, args)), other


def _stock_lstm_lm(recipe: Recipe) -> Recipe:
    """fairseq's LSTM language model of the same sizes, on its own task."""
    model = recipe["model"]
    return {
        **recipe,
        "task": {**recipe["task"], "_name": "language_modeling"},
        "model": {
            "_name": "lstm_lm",
            "decoder_embed_dim": model["embed_dim"],
            "decoder_hidden_size": model["hidden_size"],
            "decoder_out_embed_dim": model["embed_dim"],
            "decoder_layers": model["layers"],
            "dropout": model["dropout"],
        },
        "criterion": {"_name": "cross_entropy"},
    }


def fairseq_speed(recipe: Recipe, args: argparse.Namespace) -> float:
    """Tokens a second of ``fairseq-train``, after its first tenth of the updates."""
    recipe = merge(
        recipe,
        {
            "optimization": {"max_update": args.updates},
            "common": {"log_interval": max(1, args.updates // 10)},
            "checkpoint": {"no_save": True},
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "train.log"
        command = ["fairseq_cli.train", str(args.data / "data-bin")]
        command += [*fairseq_train_arguments(recipe), "--save-dir", folder, "--disable-validation"]
        if not torch.cuda.is_available():
            command.append("--cpu")
        _run(command, args.threads, log)
        entries = list(log_entries(log, "train_inner"))[1:]
    if not entries:
        raise UserError(f"--updates {args.updates}: too few to measure; ask for 20 or more")
    seconds = sum(float(e["wpb"]) / float(e["wps"]) for e in entries)
    return sum(float(e["wpb"]) for e in entries) / seconds


def loop_speed(args: argparse.Namespace) -> float:
    """Tokens a second of the same model in a bare loop, after its first tenth of the updates."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "loop.log"
        command = ["scripts.plain_language_model", "--data", str(args.data), "--size", args.size]
        _run([*command, "--updates", str(args.updates)], args.threads, log)
        return json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["tokens_per_second"]


def _run(module: Sequence[str], threads: int, log: Path) -> None:
    with log.open("w", encoding="utf-8") as output:
        status = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"},
            stdout=output,
            stderr=subprocess.STDOUT,
        ).returncode
    if status:
        tail = "".join(f"  {line}\n" for line in log.read_text().splitlines()[-10:])
        raise UserError(f"a run of the benchmark failed; its last lines:\n{tail}")


# --- the command -------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="WHAT", dest="benchmark")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared folder")
    common.add_argument("--updates", type=positive, default=100, metavar="N", help="of a run")
    common.add_argument("--runs", type=positive, default=5, metavar="N", help="counted pairs")
    common.add_argument("--threads", type=positive, default=1, metavar="N", help="of each side")
    common.add_argument("--json", type=Path, metavar="FILE", help="write the record here")
    train = commands.add_parser(
        "train", parents=[common], help="training a translation model, beside fairseq's lstm"
    )
    train.add_argument("--tying", choices=TYINGS, default="three-way")
    train.add_argument("--max-tokens", type=positive, default=1000, metavar="N")
    train.set_defaults(sides=translation_sides, shown=("tying", "max_tokens"))
    language_model = commands.add_parser(
        "language-model",
        parents=[common],
        help="training a language model, beside a bare loop or fairseq's lstm_lm",
    )
    language_model.add_argument("--size", choices=("small", "large"), default="small")
    language_model.add_argument("--against", choices=("loop", "lstm_lm"), default="loop")
    language_model.set_defaults(sides=language_model_sides, shown=("size", "against"))
    preprocessing.add_command(commands)
    return parser


def preprocessing_record(args: argparse.Namespace) -> dict[str, Any]:
    """Raw text to data-bin beside the usual scripts, learning merges alone, and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        work = preprocessing.Workspace(Path(folder), args)
        whole = compare(
            Side(preprocessing.OURS, work.ours), Side(preprocessing.USUAL, work.usual), args.runs
        )
        learning = compare(
            Side(preprocessing.OURS, work.ours_learning),
            Side("subword-nmt learn-bpe", work.usual_learning),
            args.runs,
        )
        work.require_same()
        memory = {pairs: work.peak_memory(pairs) for pairs in args.memory_at}
    shown = ("raw", "pairs", "merges", "workers", "runs")
    command = "python -m scripts.benchmark preprocess" + "".join(
        f" --{name} {getattr(args, name)}" for name in shown
    )
    if memory:
        command += f" --memory-at {' '.join(map(str, memory))}"
    return {
        "benchmark": "preprocess",
        "what": "Raw text to data-bin, sentence pairs a second, the same bytes",
        **whole,
        "learning": learning,
        "peak_megabytes": memory,
        "machine": {**machine(1), "threads_per_run": args.workers},
        "versions": package_versions("sacremoses", "subword-nmt"),
        "command": command,
    }


def training_record(args: argparse.Namespace) -> dict[str, Any]:
    """Training speed beside another model's."""
    if not (args.data / "data-bin").is_dir():
        raise UserError(f"{args.data}: no data-bin there; prepare it with python -m preprocess.*")
    ours, against = args.sides(args)
    options = ("data", *args.shown, "updates", "runs", "threads")
    command = f"python -m scripts.benchmark {args.benchmark}" + "".join(
        f" --{name.replace('_', '-')} {getattr(args, name)}" for name in options
    )
    return {
        "benchmark": args.benchmark,
        "what": "fairseq-train, tokens predicted a second, updates 10 % to 100 %",
        **compare(ours, against, args.runs),
        "updates": args.updates,
        "machine": {**machine(1), "threads_per_run": args.threads},
        "versions": package_versions(),
        "command": command,
    }


@one_line_errors
def main() -> None:
    """Measure and print a table."""
    args = _parser().parse_args()
    preprocess = args.benchmark == "preprocess"
    record = preprocessing_record(args) if preprocess else training_record(args)
    print(benchmark_table(record))
    if args.json:
        write_json(args.json, record)


if __name__ == "__main__":
    main()

"""How fast this is beside what one would use instead, measured side by side in one run.

  python -m scripts.benchmark train --data runs/multi30k-en-de/data --precision bf16
  python -m scripts.benchmark start-up --data runs/multi30k-en-de/data
  python -m scripts.benchmark growth --json results/benchmark-growth.json
  python -m scripts.benchmark language-model --data runs/ptb-small/data --against loop
  python -m scripts.benchmark generate --run runs/multi30k-en-de
  python -m scripts.benchmark output-layer
  python -m scripts.benchmark preprocess --raw multi30k

Both sides do the same work with the same sizes, batches and threads, in turn (A B A B …); the first
pair warms up and is not counted. Quoted are the medians, and the ratio pair by pair.
(growth: one process a side a cell, in turn; its first update warms up.)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from scripts.common import positive
from scripts.lab.benchmarks import (
    generation,
    growth,
    output_layer,
    preprocessing,
    start_up,
    training,
)
from scripts.lab.benchmarks import roofline as limit
from scripts.lab.benchmarks.compare import Side, compare
from scripts.lab.records.schema import BenchmarkRecord
from scripts.lab.records.typed import from_json, to_json
from scripts.lab.run.provenance import machine, package_versions
from scripts.lab.show.pictures import draw
from scripts.lab.store import figures_of, summary_of, write_record
from tiednmt.errors import UserError, one_line_errors

_MAKES = {
    "data": "prepare it with python -m preprocess.*",
    "run": "train it with python -m scripts.reproduce multi30k-en-de",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="WHAT", dest="benchmark")
    recorded = argparse.ArgumentParser(add_help=False)
    recorded.add_argument("--json", type=Path, metavar="FILE", help="write the record here")
    common = argparse.ArgumentParser(add_help=False, parents=[recorded])
    common.add_argument("--runs", type=positive, default=5, metavar="N", help="counted pairs")
    threads = argparse.ArgumentParser(add_help=False)
    threads.add_argument("--threads", type=positive, default=1, metavar="N", help="of each side")
    prepared = argparse.ArgumentParser(add_help=False)
    prepared.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared folder")
    trained = argparse.ArgumentParser(add_help=False)
    trained.add_argument("--updates", type=positive, default=100, metavar="N", help="of a run")
    trained.add_argument(
        "--profile", action="store_true", help="also time the parts of an update of fairseq-train"
    )
    train = commands.add_parser(
        "train",
        parents=[common, threads, prepared, trained],
        help="training a translation model, beside fairseq's or JoeyNMT's",
    )
    training.add_models(train, "joeynmt")
    train.add_argument("--max-tokens", type=positive, default=1000, metavar="N")
    train.add_argument(
        "--joeynmt-python",
        default=sys.executable,
        metavar="PATH",
        help="the interpreter that has JoeyNMT (default: this one)",
    )
    train.set_defaults(
        measure=_trained,
        what=training.WHAT,
        shown=("data", "tying", "against", "precision", "max_tokens", "updates", "profile"),
    )
    start = commands.add_parser(
        "start-up",
        parents=[common, threads, prepared],
        help="from the command to the first update, beside fairseq's",
    )
    training.add_models(start)
    start.add_argument("--max-tokens", type=positive, default=1000, metavar="N")
    start.set_defaults(
        measure=partial(_compared, start_up.start_up_sides),
        what=start_up.WHAT,
        shown=("data", "tying", "against", "precision", "max_tokens"),
    )
    grown = commands.add_parser(
        "growth",
        parents=[recorded, threads],
        help="updates as vocabulary, sentences and batches grow, beside fairseq's",
    )
    growth.add_sizes(grown)
    training.add_models(grown)
    grown.set_defaults(
        measure=growth.measure,
        what=growth.WHAT,
        shown=(*growth.AXES, "updates", "tying", "against", "precision"),
    )
    language_model = commands.add_parser(
        "language-model",
        parents=[common, threads, prepared, trained],
        help="training a language model, beside a bare loop or fairseq's lstm_lm",
    )
    language_model.add_argument("--size", choices=("small", "large"), default="small")
    language_model.add_argument("--against", choices=("loop", "lstm_lm"), default="loop")
    training.add_precision(language_model)
    language_model.set_defaults(
        measure=partial(_compared, training.language_model_sides),
        what=training.WHAT,
        shown=("data", "size", "against", "precision", "updates", "profile"),
    )
    generate = commands.add_parser(
        "generate",
        parents=[common, threads],
        help="beam search, beside fairseq's with its own lstm",
    )
    generate.add_argument(
        "--run", type=Path, required=True, metavar="DIR", help="folder of multi30k-en-de, trained"
    )
    generate.add_argument("--row", default="three-way", metavar="NAME", help="default %(default)s")
    generate.add_argument("--batch-size", type=positive, default=128, metavar="N")
    generate.add_argument("--int8", action="store_true", help="ours with 8 bits")
    generate.set_defaults(
        measure=partial(_compared, generation.generation_sides),
        what=generation.WHAT,
        shown=("run", "row", "batch_size", "int8"),
    )
    loss = commands.add_parser(
        "output-layer",
        parents=[common, threads],
        help="loss and gradients, beside linear + cross_entropy",
    )
    output_layer.add_sizes(loss)
    loss.set_defaults(
        measure=partial(_compared, output_layer.output_layer_sides),
        what=output_layer.WHAT,
        shown=("tokens", "types", "dim"),
    )
    texts = commands.add_parser(
        "preprocess", parents=[common], help="raw text to data-bin, beside the usual scripts' way"
    )
    preprocessing.add_sizes(texts)
    texts.set_defaults(
        measure=preprocessing.measure,
        what=preprocessing.WHAT,
        shown=("raw", "pairs", "merges", "memory_at"),
    )
    return parser


def _compared(sides: Callable[..., tuple[Side, Side]], args: argparse.Namespace) -> dict[str, Any]:
    ours, against = sides(args)
    return compare(ours, against, args.runs)


def _trained(args: argparse.Namespace) -> dict[str, Any]:
    """Training a translation model, and how much of what the machine allows our side came to."""
    record = _compared(training.translation_sides, args)
    found = limit.in_a_process(args)
    done = record["ours"]["median"] * found["gflops_per_token"]
    shares = {
        share: round(done / found["gflops_per_second"][precision], 3)
        for share, precision in (("share", args.precision), ("share_of_single", "single"))
    }
    return {**record, "limit": {**found, **shares}}


def _command(args: argparse.Namespace) -> str:
    words = ["python -m scripts.benchmark", args.benchmark]
    for name in (*args.shown, "runs", "threads"):
        option, value = "--" + name.replace("_", "-"), getattr(args, name, False)
        if value is True:
            words.append(option)
        elif isinstance(value, list):
            words += [option, *map(str, value)] if value else []
        elif value is not False:
            words.append(f"{option} {value}")
    return " ".join(words)


@one_line_errors
def main() -> None:
    """Measure and print a table."""
    args = _parser().parse_args()
    for name, needed in (("data", "data-bin"), ("run", "data/data-bin")):
        folder = getattr(args, name, None)
        if folder is not None and not (folder / needed).is_dir():
            raise UserError(f"--{name} {folder}: no {needed} there; {_MAKES[name]}")
    record: BenchmarkRecord = from_json(
        BenchmarkRecord,
        {
            "kind": "benchmark",
            "experiment": f"benchmark-{args.benchmark}",
            "title": args.what,
            **args.measure(args),
            "machine": to_json(replace(machine(1), threads_per_run=args.threads)),
            "versions": package_versions("sacremoses", "subword-nmt"),
            "command": _command(args),
        },
    )
    print(summary_of(record))
    if args.json:
        write_record(args.json, record)
        draw(figures_of(record).pictures, args.json.parent)


if __name__ == "__main__":
    main()

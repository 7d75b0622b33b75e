"""Speed and memory of an update as vocabulary, sentences and batches grow.

Each side of each cell is a process of its own, so that its peak of memory is its own:

  python -m scripts.lab.benchmarks.growth ours --vocabulary 32000 --length 50 --tokens 4000

It trains on random sentences, all of one length in both languages and the same for both sides,
through the model, criterion, optimizer and trainer that ``fairseq-train`` uses.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from typing import Any

import torch
from fairseq import options
from fairseq.data import Dictionary
from fairseq.data.language_pair_dataset import collate
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks.translation import TranslationTask
from fairseq.trainer import Trainer
from tqdm import tqdm

import tiednmt.plugin  # noqa: F401
from scripts.common import positive
from scripts.lab.benchmarks.compare import (
    Measured,
    figures,
    peak_memory,
    printed_by_module,
    ratios,
    spread,
)
from scripts.lab.benchmarks.training import (
    add_models,
    our_name,
    our_translation,
    stock_translation,
)
from scripts.lab.run.specs import fairseq_train_arguments, merge

WHAT = "target tokens a second of an update, by vocabulary, length of sentences and batch"
MEMORY = 0.75  # of the machine's, for a process
AXES = {"vocabulary": "types", "length": "tokens a sentence", "tokens": "tokens a batch"}


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """The sizes of the cells and how long each is measured."""
    for axis, sizes in (
        ("vocabulary", [8_000, 32_000, 94_000]),
        ("length", [10, 50, 200]),
        ("tokens", [1_000, 4_000, 16_000]),
    ):
        parser.add_argument(
            f"--{axis}", type=positive, nargs="+", default=sizes, metavar="N", help=AXES[axis]
        )
    parser.add_argument("--updates", type=positive, default=5, metavar="N", help="of a cell")


def cells(args: argparse.Namespace) -> list[dict[str, int]]:
    """For each vocabulary all lengths at the middle batch, and all batches at the middle length.

    The smallest come first.
    """
    lengths, tokens = sorted(args.length), sorted(args.tokens)
    length, batch = lengths[len(lengths) // 2], tokens[len(tokens) // 2]
    pairs = [(each, batch) for each in lengths] + [(length, each) for each in tokens]
    return [
        {"vocabulary": vocabulary, "length": length, "tokens": batch}
        for vocabulary in sorted(args.vocabulary)
        for length, batch in dict.fromkeys(pairs)
    ]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Both sides of every cell in turn; over all cells, the spread of the cells' medians."""
    names = {"ours": our_name(args), "against": f"fairseq {args.against}"}
    found = []
    for cell in tqdm(cells(args), desc="cells", unit=" cells"):
        runs = {side: _in_a_process(side, cell, args) for side in names}
        compared = {side: figures(names[side], runs[side]) for side in names if runs[side]}
        found.append({**cell, **compared, **_ratios(runs)})
    whole = {side: {"name": name} for side, name in names.items()}
    return {**whole, **_over_cells(found), "cells": found}


def _ratios(runs: dict[str, list[Measured]]) -> dict[str, Any]:
    return ratios(runs["ours"], runs["against"]) if all(runs.values()) else {}


def _over_cells(found: list[dict[str, Any]]) -> dict[str, Any]:
    both = {
        kind: [cell[kind]["median"] for cell in found if kind in cell]
        for kind in ("ratio", "memory_ratio")
    }
    return {kind: spread(medians) for kind, medians in both.items() if medians}


def _in_a_process(side: str, cell: dict[str, int], args: argparse.Namespace) -> list[Measured]:
    """What each update gave; nothing where the memory did not suffice."""
    sizes = [f"--{axis}={size}" for axis, size in cell.items()]
    command = ["scripts.lab.benchmarks.growth", side, *sizes, f"--updates={args.updates}"]
    command += [f"--tying={args.tying}", f"--against={args.against}"]
    command += [f"--precision={args.precision}"]
    printed = printed_by_module(command, args.threads)
    return [Measured(speed, printed["memory"]) for speed in printed["speeds"]]


def measure_cell(args: argparse.Namespace) -> dict[str, Any]:
    """``speeds`` of the updates after one to warm up, target tokens a second, and ``memory``.

    The peak of memory is that above what was there before the model. There are no speeds where the
    memory does not suffice.
    """
    dictionary = _dictionary(args.vocabulary)
    before = peak_memory()
    trainer = _trainer(args, dictionary)
    try:
        seconds = [_update(trainer, dictionary, args, seed) for seed in range(args.updates + 1)]
    except (RuntimeError, MemoryError) as error:
        if not any(sign in str(error) for sign in ("allocate memory", "out of memory")):
            raise
        return {"speeds": [], "memory": None}
    tokens = _sentences(args) * args.length
    return {"speeds": [tokens / each for each in seconds[1:]], "memory": peak_memory() - before}


def _limit_memory() -> None:
    """Let a process that asks for too much fail, before the machine has none left."""
    if not torch.cuda.is_available():
        pages = int(MEMORY * os.sysconf("SC_PHYS_PAGES"))
        most = pages * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _dictionary(types: int) -> Dictionary:
    dictionary = Dictionary()
    for number in range(len(dictionary), types):
        dictionary.add_symbol(str(number))
    return dictionary


def _trainer(args: argparse.Namespace, dictionary: Dictionary) -> Trainer:
    args.max_tokens = args.tokens
    recipe = our_translation(args) if args.side == "ours" else stock_translation(args)
    if not torch.cuda.is_available():
        recipe = merge(recipe, {"common": {"cpu": True}})
    parser = options.get_training_parser()
    command = ["no data", *fairseq_train_arguments(recipe)]
    config = convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, command))
    config.common.tpu = False  # which --bf16 of fairseq-train means
    task = TranslationTask(config.task, dictionary, dictionary)
    model, criterion = task.build_model(config.model), task.build_criterion(config.criterion)
    trainer = Trainer(config, task, model, criterion)
    trainer.cuda_env = None  # or it would forget the peak of memory after every update
    return trainer


def _update(trainer: Trainer, dictionary: Dictionary, args: argparse.Namespace, seed: int) -> float:
    """Seconds of one update on a batch of its own."""
    torch.manual_seed(seed)
    samples = [
        {"id": number, "source": _sentence(dictionary, args), "target": _sentence(dictionary, args)}
        for number in range(_sentences(args))
    ]
    batch = collate(samples, dictionary.pad(), dictionary.eos())
    started = time.perf_counter()
    trainer.train_step([batch], raise_oom=True)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _sentence(dictionary: Dictionary, args: argparse.Namespace) -> torch.Tensor:
    words = torch.randint(dictionary.nspecial, len(dictionary), (args.length - 1,))
    return torch.cat([words, torch.tensor([dictionary.eos()])])


def _sentences(args: argparse.Namespace) -> int:
    return max(1, args.tokens // args.length)


def main() -> None:
    """Print the figures of one side of one cell as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=("ours", "against"))
    for axis in AXES:
        parser.add_argument(f"--{axis}", type=positive, required=True, metavar="N")
    parser.add_argument("--updates", type=positive, default=5, metavar="N")
    add_models(parser)
    args = parser.parse_args()
    _limit_memory()
    print(json.dumps(measure_cell(args)))


if __name__ == "__main__":
    main()

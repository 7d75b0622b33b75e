"""Speed and memory of an update as vocabulary, sentences and batches grow.

Each side of each cell is a process, so that its peak of memory is its own:

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
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.data.language_pair_dataset import collate
from fairseq.tasks.translation import TranslationTask
from fairseq.trainer import Trainer
from tqdm import tqdm

from scripts.lab.architectures import numbered_dictionary
from scripts.lab.benchmarks.compare import Measured, figures, ratios, spread
from scripts.lab.benchmarks.measured_process import peak_memory, printed_by_module
from scripts.lab.benchmarks.options import Threads, in_batches
from scripts.lab.benchmarks.trainer import ModelsInTrainers, trainer_of
from tiednmt.options import add_options, command_words, from_arguments, option, positive

WHAT = "target tokens per second of an update, by vocabulary, length of sentences and batch"
MEMORY = 0.75  # of the machine's, for a process
AXES = ("vocabulary", "length", "tokens")


@dataclass(frozen=True, kw_only=True)
class Growth(ModelsInTrainers, Threads):
    """Options of ``scripts.benchmark growth``: the sizes of the cells."""

    vocabulary: tuple[int, ...] = option(
        "vocabulary sizes", default=(8_000, 32_000, 94_000), type=positive
    )
    length: tuple[int, ...] = option("tokens per sentence", default=(10, 50, 200), type=positive)
    tokens: tuple[int, ...] = option(
        "tokens per batch", default=(1_000, 4_000, 16_000), type=positive
    )
    updates: int = option("updates per cell", default=5, type=positive)

    def cells(self) -> list[Cell]:
        """For each vocabulary all lengths at the middle batch, and all batches at the middle
        length.

        The smallest come first.
        """
        lengths, tokens = sorted(self.length), sorted(self.tokens)
        length, batch = lengths[len(lengths) // 2], tokens[len(tokens) // 2]
        pairs = [(each, batch) for each in lengths] + [(length, each) for each in tokens]
        models = {each.name: getattr(self, each.name) for each in fields(ModelsInTrainers)}
        return [
            Cell(**models, vocabulary=each, length=length, tokens=batch, updates=self.updates)
            for each in sorted(self.vocabulary)
            for length, batch in dict.fromkeys(pairs)
        ]


@dataclass(frozen=True, kw_only=True)
class Cell(ModelsInTrainers):
    """The size of a cell, which one process measures."""

    vocabulary: int = option("vocabulary size", type=positive)
    length: int = option("tokens per sentence", type=positive)
    tokens: int = option("tokens per batch", type=positive)
    updates: int = option("updates", default=5, type=positive)

    @property
    def sizes(self) -> dict[str, int]:
        """Where it stands, by axis."""
        return {axis: getattr(self, axis) for axis in AXES}

    @property
    def sentences(self) -> int:
        """The number of sentences in a batch."""
        return max(1, self.tokens // self.length)

    @property
    def warm_up(self) -> int:
        """The updates that are not counted; the second captures a CUDA graph."""
        return 2 if self.cuda_graphs else 1


def measure(options: Growth) -> dict[str, Any]:
    """Both sides of every cell in turn; over all cells, the spread of the cells' medians."""
    names = {"ours": options.name, "against": options.stock_name}
    measured = []
    for cell in tqdm(options.cells(), desc="cells", unit=" cells"):
        runs = {side: _in_a_process(side, cell, options.threads) for side in names}
        compared = {side: figures(names[side], runs[side]) for side in names if runs[side]}
        measured.append({**cell.sizes, **compared, **_ratios(runs)})
    whole = {side: {"name": name} for side, name in names.items()}
    return {**whole, **_over_cells(measured), "cells": measured}


def _ratios(runs: dict[str, list[Measured]]) -> dict[str, Any]:
    return ratios(runs["ours"], runs["against"]) if all(runs.values()) else {}


def _over_cells(cells: list[dict[str, Any]]) -> dict[str, Any]:
    both = {
        name: [cell[name]["median"] for cell in cells if name in cell]
        for name in ("ratio", "memory_ratio")
    }
    return {name: spread(medians) for name, medians in both.items() if medians}


def _in_a_process(side: str, cell: Cell, threads: int) -> list[Measured]:
    """The figures of each update; none if memory did not suffice."""
    command = ["scripts.lab.benchmarks.growth", side, *command_words(cell)]
    return [Measured(**each) for each in printed_by_module(command, threads)]


def measure_cell(side: str, cell: Cell) -> list[Measured]:
    """Target tokens per second of each update after the warm-up, and the peak of memory.

    The peak is counted from before the model was built. Returns nothing if memory does not
    suffice.
    """
    dictionary = numbered_dictionary(cell.vocabulary, "vocabulary")
    before = peak_memory()
    try:
        trainer = _trainer(side, cell, dictionary)
        updates = range(cell.warm_up + cell.updates)
        seconds = [_update(trainer, dictionary, cell, seed) for seed in updates]
    except (RuntimeError, MemoryError) as error:
        signs = ("allocate memory", "out of memory")  # torch's own errors are RuntimeErrors
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in signs):
            raise
        return []
    tokens, memory = cell.sentences * cell.length, peak_memory() - before
    return [Measured(tokens / each, memory) for each in seconds[cell.warm_up :]]


def _limit_memory() -> None:
    """Make a process fail that asks for too much, before the machine runs out of memory."""
    if not torch.cuda.is_available():
        pages = int(MEMORY * os.sysconf("SC_PHYS_PAGES"))
        most = pages * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _trainer(side: str, cell: Cell, dictionary: Dictionary) -> Trainer:
    recipe = cell.recipe_in_precision() if side == "ours" else cell.stock_recipe()
    trainer = trainer_of(
        in_batches(recipe, cell.tokens),
        "no data",
        lambda config: TranslationTask(config.task, dictionary, dictionary),
    )
    trainer.cuda_env = None  # or it would forget the peak of memory after every update
    return trainer


def _update(trainer: Trainer, dictionary: Dictionary, cell: Cell, seed: int) -> float:
    """Seconds of one update on a batch drawn with ``seed``."""
    torch.manual_seed(seed)
    samples = [
        {
            "id": number,
            "source": _sentence(dictionary, cell.length),
            "target": _sentence(dictionary, cell.length),
        }
        for number in range(cell.sentences)
    ]
    batch = collate(samples, dictionary.pad(), dictionary.eos())
    started = time.perf_counter()
    trainer.train_step([batch], raise_oom=True)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _sentence(dictionary: Dictionary, length: int) -> torch.Tensor:
    words = torch.randint(dictionary.nspecial, len(dictionary), (length - 1,))
    return torch.cat([words, torch.tensor([dictionary.eos()])])


def main() -> None:
    """Print the figures of one side of one cell as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=("ours", "against"))
    add_options(parser, Cell)
    args = parser.parse_args()
    _limit_memory()
    measured = measure_cell(args.side, from_arguments(Cell, args))
    print(json.dumps([asdict(each) for each in measured]))


if __name__ == "__main__":
    main()

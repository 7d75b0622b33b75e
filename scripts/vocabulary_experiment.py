"""Measure what vocabulary surgery costs and gains, on runs of scripts.reproduce.

  python -m scripts.vocabulary_experiment trim RUN --data DIR --out OUT
  python -m scripts.vocabulary_experiment tie RUN --tied OTHER-RUN --data DIR --out OUT
  python -m scripts.vocabulary_experiment starts RUN --data DIR --out OUT
  python -m scripts.vocabulary_experiment language RUN --raw DIR --pair en-cs --data DIR --out OUT

RUN is the folder of a row (with command.json and checkpoint_best.pt). Every training uses the
options of that row, except those given after --. Started again, the command continues where it
stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tiednmt.plugin  # noqa: F401
from scripts.lab import vocabulary
from scripts.lab.run.training import BEST
from scripts.lab.trained_run import TrainedRun, require_run
from scripts.lab.vocabulary import Figures, show
from tiednmt.commandline import command_parser, quiet_libraries
from tiednmt.errors import UserError, resumable_command
from tiednmt.modes import THREE_WAY, TYINGS
from tiednmt.options import add_options, from_arguments, language_pair, option, positive, seed


@dataclass(frozen=True)
class Options:
    """Options of every measurement."""

    data: Path = option("prepared folder of the run", metavar="DIR")
    out: Path = option("folder to fill", metavar="OUT")


@dataclass(frozen=True)
class Trim(Options):
    """Options of ``trim``."""

    subset: tuple[str, ...] = option(
        "test set; may be repeated", default=("test",), repeated=True, metavar="NAME"
    )


@dataclass(frozen=True)
class Tie(Options):
    """Options of ``tie``."""

    tied: Path = option("row that was trained tied", metavar="RUN")
    tying: str = option("its tying", default=THREE_WAY, choices=TYINGS[1:])
    updates: int = option("updates after tying", default=1000, type=positive)
    subset: str = option("test set", default="test")
    seed: int = option("random seed", default=1, type=seed)


@dataclass(frozen=True)
class Starts(Options):
    """Options of ``starts``."""

    merges: int = option("number of additional merges", default=300, type=positive)
    updates: tuple[int, ...] = option(
        "score after each of these, and before training", default=(100, 500), type=positive
    )
    vectors: Path | None = option(
        "also initialise new rows from these word vectors", default=None, metavar="FILE"
    )
    rows_alone: bool = option("train only the new rows", default=False)
    seed: int = option("random seed", default=1, type=seed)


@dataclass(frozen=True)
class Language(Options):
    """Options of ``language``."""

    raw: Path = option("folder of its raw text: train.*, valid.* and <subset>.*", metavar="DIR")
    pair: str = option("the new language pair", default="en-cs", metavar="SRC-TGT")
    merges: int = option("number of additional merges", default=300, type=positive)
    updates: tuple[int, ...] = option(
        "updates of the new rows alone, and then of the whole model",
        default=(1000, 2000),
        type=positive,
    )
    subset: str = option("test set", default="test")
    seeds: int = option("train with seeds 1 to N", default=1, type=positive)

    def __post_init__(self) -> None:
        """Refuse anything but two numbers of updates, one per stage, and a pair of languages."""
        language_pair(self.pair)
        if len(self.updates) != 2:
            raise UserError("--updates takes two numbers, of the new rows and of the whole model")


def _trim(trained: TrainedRun, options: Trim) -> Figures:
    return vocabulary.trim(trained, options.subset)


def _tie(trained: TrainedRun, options: Tie) -> Figures:
    require_run(options.tied)
    tied = options.tied / BEST
    return vocabulary.tie(trained, tied, options.subset, options.updates, options.tying)


def _starts(trained: TrainedRun, options: Starts) -> Figures:
    updates = [0, *options.updates]
    return vocabulary.starts(trained, options.merges, updates, options.vectors, options.rows_alone)


def _language(trained: TrainedRun, options: Language) -> Figures:
    source, target = language_pair(options.pair)
    texts = {
        name: (options.raw / f"{name}.{source}", options.raw / f"{name}.{target}")
        for name in ("train", "valid", options.subset)
    }
    rows, whole = options.updates
    return vocabulary.language(
        trained, texts, (source, target), options.merges, (rows, whole), options.subset,
        options.seeds,
    )  # fmt: skip


class Measure(NamedTuple):
    """One measurement: what it is, the dataclass of its options, and the function."""

    help: str
    options: type[Options]
    measure: Callable[[TrainedRun, Any], Figures]


MEASURES = {
    "trim": Measure("trim to test sets: translations, size and speed", Trim, _trim),
    "tie": Measure("tie an untied model, then train it", Tie, _tie),
    "starts": Measure("compare the ways to initialise new rows", Starts, _starts),
    "language": Measure("add a target language", Language, _language),
}


def parser() -> argparse.ArgumentParser:
    """The command line: a sub-command per measurement, its options from a dataclass."""
    whole = command_parser("python -m scripts.vocabulary_experiment", __doc__)
    commands = whole.add_subparsers(required=True, metavar="WHAT", dest="name")
    for name, (help, options, _) in MEASURES.items():
        description = f"{help[0].upper()}{help[1:]}."
        command = commands.add_parser(name, help=help, description=description)
        command.add_argument("run", type=Path, metavar="RUN", help="folder of a trained row")
        add_options(command, options)
    return whole


@resumable_command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    args = parser().parse_args(words[:end])
    quiet_libraries()
    _, kind, measure = MEASURES[args.name]
    options = from_arguments(kind, args)
    require_run(args.run)
    options.out.mkdir(parents=True, exist_ok=True)
    seed = getattr(options, "seed", 1)
    trained = TrainedRun(args.run, options.data, options.out, words[end + 1 :], seed)
    show(args.name, measure(trained, options), options.out)


if __name__ == "__main__":
    main()

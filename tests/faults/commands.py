"""The commands, as functions of their arguments; and which options their parsers have."""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from unittest import mock

from tiednmt.errors import one_line_errors

_MODULES = {
    **{name: f"tiednmt.commands.{name}" for name in ("evaluate", "translate", "export", "inspect")},
    **{name: f"scripts.{name}" for name in ("average", "skip_gram", "model_size", "analyse")},
    **{name: f"scripts.{name}" for name in ("perplexity", "report")},
    **{name: f"preprocess.{name}" for name in ("bitext", "text", "multi30k")},
    "vocabulary": "tiednmt.commands.vocabulary",
}
_LATER = (
    *(
        "fairseq_cli.generate",
        "fairseq_cli.train",
        "tiednmt.translation.evaluation",
        "tiednmt.vocabulary.operations",
    ),
    *("tiednmt.vocabulary.report", "tiednmt.vocabulary.files", "scripts.lab.store"),
    *("scripts.lab.run.specs", "tiednmt.embeddings.gradients", "tiednmt.analysis.word_vectors"),
    *("preprocess.imdb", "preprocess.wikitext2", "tiednmt.translation.translator"),
)
# options of fairseq-train: of other machines and services, or without an end
_NOT_TRIED = (
    *("-h", "--help", "--distributed-", "--nprocs-per-node", "--device-id", "--local", "--slowmo"),
    *("--wandb", "--azureml", "--user-dir", "--max-update", "--max-epoch", "--s3", "--plasma"),
    *("--quantization-config-path", "--profile", "--use-plasma", "--tpu", "--num-workers"),
)


def run(command: str, arguments: list[str]) -> None:
    """Run a command; what is none of its own reads what commands read."""
    if command in ("generate", "train"):
        sys.argv = [f"fairseq-{command}", *arguments]
        main = importlib.import_module(f"fairseq_cli.{command}").cli_main
        one_line_errors(main)()  # as the plugin's hook explains what is not caught
    elif command in _READERS:
        one_line_errors(_READERS[command])(*arguments)
    else:
        importlib.import_module(_MODULES[command]).main(arguments)


def load_all() -> None:
    """Import what commands import, so that each runs in a fork that has it."""
    for module in (*_MODULES.values(), *_LATER):
        importlib.import_module(module)
    gc.freeze()  # or each fork would look through all of it, and copy it


@lru_cache
def options_of(command: str) -> list[str]:
    """The options of a command's parser, but for ``--help`` and those that fetch or listen."""
    parsers: list[argparse.ArgumentParser] = []

    class Found(Exception):
        pass

    def keep(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        parsers.append(parser)
        raise Found

    with mock.patch.object(argparse.ArgumentParser, "parse_args", keep), suppress(Found):
        importlib.import_module(_MODULES[command]).main([])
    named = [name for action in parsers[0]._actions for name in action.option_strings[:1]]
    return [n for n in named if n not in ("-h", "--help", "--url", "--comet")] or ["--none"]


@lru_cache
def options_of_fairseq(command: str, arguments: tuple[str, ...]) -> list[str]:
    """Those of ``fairseq-train`` or its like with the task, model and so on of its arguments."""
    from fairseq import options

    parsers = {"train": options.get_training_parser, "generate": options.get_generation_parser}
    parser = parsers[command]()
    options.parse_args_and_arch(parser, list(arguments))
    named = [name for action in parser._actions for name in action.option_strings[:1]]
    return [name for name in named if not name.startswith(_NOT_TRIED)]


def _experiment(folder: str, name: str) -> None:
    from scripts.lab.run import specs

    specs.EXPERIMENTS = Path(folder)
    specs.load_experiment(name)


def _vectors(path: str) -> None:
    from tiednmt.analysis.word_vectors import load

    load(Path(path))


def _movement(folder: str) -> None:
    from tiednmt.criterions.row_movement import read_row_movement

    read_row_movement(Path(folder))


def _gradients(folder: str) -> None:
    from tiednmt.embeddings.gradients import gradient_shares_in

    gradient_shares_in(Path(folder))


def _figures(folder: str) -> None:
    from scripts.lab.store import read_record, write_figures

    write_figures(read_record(Path(folder, "record.json")), Path(folder, "out"))


def _reviews(path: str) -> None:
    from preprocess.imdb import read_reviews

    for _ in read_reviews(Path(path)):
        pass


def _articles(path: str) -> None:
    from preprocess.wikitext2 import read_archive

    for _ in read_archive(Path(path)):
        pass


_READERS: dict[str, Callable[..., None]] = {
    "experiment": _experiment,
    "vectors": _vectors,
    "movement": _movement,
    "gradients": _gradients,
    "figures": _figures,
    "reviews": _reviews,
    "articles": _articles,
}

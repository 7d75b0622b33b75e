"""The parts of a command line that commands share."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path


def command_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for ``command`` as one types it; ``description`` is shown as it is written."""
    return argparse.ArgumentParser(
        prog=command,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the models that translate (several form an ensemble), and how they compute."""
    parser.add_argument(
        "models", nargs="+", type=Path, metavar="MODEL", help="model folder or checkpoint"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PREPARED",
        help="prepared folder of checkpoints (default: the one each was trained on)",
    )
    parser.add_argument("--int8", action="store_true", help="decode with int8 weights on the CPU")
    add_cpu(parser)


def add_cpu(parser: argparse.ArgumentParser) -> None:
    """Add ``--cpu``."""
    parser.add_argument("--cpu", action="store_true", help="run on the CPU even if there is a GPU")


def quiet_libraries() -> None:
    """Let fairseq, tiednmt and matplotlib log warnings only, each as one plain line.

    One of fairseq's modules lets all others log for debugging, under their names.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s")
    for package in ("fairseq", "tiednmt", "matplotlib"):
        logging.getLogger(package).setLevel(logging.WARNING)

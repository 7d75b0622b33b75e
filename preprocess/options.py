"""The options that the commands of all corpora have in common."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tiednmt.options import Range, add_options, option, require_ranges
from tiednmt.processor import cores


@dataclass(frozen=True)
class CommonOptions:
    """Options of every corpus.

    Raises:
        UserError: a number is out of its range.
    """

    workers: int = option("number of processes (0: one per core)", default=0, within=Range(0, 1024))

    def __post_init__(self) -> None:
        require_ranges(self)

    def of_content(self) -> dict[str, Any]:
        """The options that the prepared corpus depends on."""
        return {n: value for n, value in asdict(self).items() if n not in ("workers", "commands")}

    @property
    def processes(self) -> int:
        """Worker processes to use."""
        return self.workers or cores()


def add_corpus_options(parser: argparse.ArgumentParser, options: type[CommonOptions]) -> None:
    """Add ``--dest``, the folder to fill, and an option for each field of ``options``."""
    parser.add_argument("--dest", type=Path, required=True, metavar="DIR", help="folder to fill")
    add_options(parser, options)

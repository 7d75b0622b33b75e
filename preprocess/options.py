"""What the commands of all corpora have in common on their command lines."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocess.parallel import cores
from tiednmt.errors import UserError

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class CommonOptions:
    """Options of every corpus.

    :raises UserError: where one is out of range.
    """

    workers: int = 0  # all cores

    def __post_init__(self) -> None:
        self.require_at_least(0, "workers")

    def require_at_least(self, least: int, *names: str) -> None:
        """Refuse options of these names below ``least``."""
        for name in names:
            value = getattr(self, name)
            if not value >= least:  # nan too
                option = "--" + name.replace("_", "-")
                raise UserError(f"{option} {value}: must be {least} or more")

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> Self:
        """The options as given on the command line.

        :raises UserError: where one is out of range.
        """
        return cls(**{option.name: getattr(args, option.name) for option in fields(cls)})

    def of_content(self) -> dict[str, Any]:
        """Those that the prepared corpus depends on."""
        return {name: value for name, value in asdict(self).items() if name != "workers"}

    @property
    def processes(self) -> int:
        """Worker processes to use."""
        return self.workers or cores()


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder to fill and the options of every corpus."""
    parser.add_argument("--dest", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.add_argument(
        "--workers",
        type=int,
        default=CommonOptions.workers,
        metavar="N",
        help="processes (default: one for each core)",
    )


def add_raw_arguments(parser: argparse.ArgumentParser, url: str) -> None:
    """Where a published corpus comes from."""
    parser.add_argument("--raw", type=Path, metavar="DIR", help="raw files, in place of a download")
    parser.add_argument("--url", default=url, help="where to download from (default: %(default)s)")

"""What the commands of all corpora have in common on their command lines."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from preprocess.parallel import cores
from tiednmt.errors import UserError
from tiednmt.options import Range, option_name

if TYPE_CHECKING:
    from typing_extensions import Self

WORKERS = Range(0, 1024)  # 0: one for each core
SIZES, COUNTS = Range(1, 10**9), Range(0, 10**9)

Value = TypeVar("Value", int, float, bool, str)


def option(
    default: Value, help: str, metavar: str = "N", also: str = "", kind: Any = None
) -> Value:
    """A field of a class of options, and how the command line explains it.

    Args:
        default: its value where it is not given.
        help: what ``--help`` says.
        metavar: stands for the value there.
        also: another name of the option.
        kind: makes the value of what is given; by default the type of ``default``.
    """
    metadata = {"help": help, "metavar": metavar, "also": also, "kind": kind or type(default)}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class CommonOptions:
    """Options of every corpus.

    Raises:
        UserError: where one is out of range.
    """

    workers: int = option(0, "number of processes (0: one per core)")

    def __post_init__(self) -> None:
        self.require(WORKERS, "workers")

    def require(self, allowed: Range, *names: str) -> None:
        """Refuse options of these names that are out of a range."""
        for name in names:
            value = getattr(self, name)
            if fault := allowed.fault(value):
                raise UserError(f"{option_name(name)} {value}: {fault}")

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> Self:
        """The options as given on the command line.

        Raises:
            UserError: where one is out of range.
        """
        return cls(**{option.name: getattr(args, option.name) for option in fields(cls)})

    def of_content(self) -> dict[str, Any]:
        """Those that the prepared corpus depends on."""
        return {n: value for n, value in asdict(self).items() if n not in ("workers", "commands")}

    @property
    def processes(self) -> int:
        """Worker processes to use."""
        return self.workers or cores()


def add_options(parser: argparse.ArgumentParser, options: type[CommonOptions]) -> None:
    """The folder to fill, and an option for each field of ``options``."""
    parser.add_argument("--dest", type=Path, required=True, metavar="DIR", help="folder to fill")
    for item in fields(options):
        flag, text = option_name(item.name), item.metadata["help"]
        if isinstance(item.default, bool):
            given = flag if item.default else f"--no-{flag[2:]}"
            parser.add_argument(
                flag,
                action=argparse.BooleanOptionalAction,
                default=item.default,
                help=f"{text} (default: {given})",
            )
        else:
            flags = [flag, *([item.metadata["also"]] if item.metadata["also"] else [])]
            parser.add_argument(
                *flags,
                dest=item.name,
                type=item.metadata["kind"],
                default=item.default,
                metavar=item.metadata["metavar"],
                help=text,
            )

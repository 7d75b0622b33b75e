"""The console command ``tiednmt``: where the plugin is, and its version."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = argparse.ArgumentParser(
        prog="tiednmt", description="Weight tying for fairseq: a plugin for fairseq-train."
    )
    parser.add_argument("--version", action="version", version=f"tiednmt {version('tiednmt')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("path", help='print the folder for --user-dir "$(tiednmt path)"')
    parser.parse_args(argv)
    print(Path(__file__).resolve().parent)

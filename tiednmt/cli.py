"""The console command ``tiednmt``: a word for each command, loaded when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tiednmt import __version__
from tiednmt.errors import one_line_errors

COMMANDS = {
    "translate": "translate plain text",
    "evaluate": "score and compare models on test sets",
    "serve": "open a page in the browser: translations, attention, nearest words",
    "export": "write a trained model as a folder, or for another engine",
    "inspect": "show which matrices of a model file are tied, from any toolkit",
    "analyse": "show what the embeddings of trained models learned",
    "vocabulary": "change or report the vocabulary of a trained model",
    "path": 'print the folder for fairseq-train --user-dir "$(tiednmt path)"',
}


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    words = [*(sys.argv[1:] if argv is None else argv)]
    command, rest = (words[0], words[1:]) if words else ("", [])
    if command == "path" and not rest:
        print(Path(__file__).resolve().parent)
    elif command == "path" and rest in (["-h"], ["--help"]):
        print(f"usage: tiednmt path\n\n{COMMANDS[command]}")
    elif command in COMMANDS and command != "path":
        import_module(f"tiednmt.commands.{command}").main(rest)
    elif command == "--version":
        print(f"tiednmt {__version__}")
    elif command in ("-h", "--help"):
        print(_usage())
    else:
        wrong = f"no command {command}\n" if command else ""
        sys.exit(f"{wrong}{_usage()}")


def _usage() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {what}" for name, what in COMMANDS.items())
    return (
        "usage: tiednmt COMMAND …\n\nWeight tying for sequence models: a plugin for fairseq-train, "
        f"and trained models in use.\n\n{commands}\n\n"
        "tiednmt COMMAND --help shows its options; tiednmt --version shows the version."
    )

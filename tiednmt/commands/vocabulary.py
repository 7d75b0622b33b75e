"""Change the vocabulary of a trained model, or show what it is used for.

  tiednmt vocabulary trim runs/x/checkpoint_best.pt --text test.en --translate --output y
  tiednmt vocabulary tie runs/none/checkpoint_best.pt --tying three-way --output y

The result is a new folder with the checkpoint, its dictionaries and its segmentation; the original
model stays unchanged. See docs/vocabulary.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from tiednmt.commandline import command_parser, quiet_libraries
from tiednmt.errors import one_line_errors
from tiednmt.vocabulary.command import add_commands


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("tiednmt vocabulary", __doc__)
    add_commands(parser)
    args = parser.parse_args(argv)
    quiet_libraries()
    args.run(args)

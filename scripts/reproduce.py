"""Train all models of an experiment, score them, and show a table with the paper's figures.

Started again after an interruption, the same command continues where it stopped. At the end, the
folder of the experiment holds record.json, table.md, the plots and every trained model.

  python -m scripts.reproduce ptb-small --seeds 3
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.lab.command import add_arguments, reproduce
from scripts.lab.run.specs import experiment_names
from tiednmt.commandline import command_parser
from tiednmt.errors import resumable_command


@resumable_command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("python -m scripts.reproduce", __doc__)
    parser.add_argument(
        "experiment", metavar="EXPERIMENT", help=f"one of {', '.join(experiment_names())}"
    )
    add_arguments(parser)
    parser.add_argument(
        "--wordsim",
        type=Path,
        metavar="DIR",
        help="word-similarity sets (for experiments on embeddings), instead of a download",
    )
    args = parser.parse_args(argv)
    command = f"python -m scripts.reproduce {args.experiment}"
    reproduce(args.experiment, command, args, args.wordsim)


if __name__ == "__main__":
    main()

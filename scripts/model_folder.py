"""Make int8 model folders of finished runs, with scores and training on their cards.

Which row of an experiment becomes a model, how the folder is called and how large it may be is in
configs/models.yaml. Of several seeds it is the one of the lowest validation loss. The folder is
scored as it is, on the test sets of the run's record.

  python -m scripts.model_folder runs/multi30k-en-de runs/multi30k-en-fr runs/multi30k-en-cs
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.lab.model_folders import make
from tiednmt.commandline import command_parser, quiet_libraries
from tiednmt.errors import one_line_errors


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("python -m scripts.model_folder", __doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished experiment"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("models"),
        metavar="DIR",
        help="parent of the model folders (default: models)",
    )
    args = parser.parse_args(argv)
    quiet_libraries()
    for run in args.runs:
        made = make(run, args.out)
        scores = ", ".join(f"{bleu:.2f} BLEU on {subset}" for subset, bleu in made.bleu.items())
        print(f"{made.folder}: {made.size / 1e6:.1f} MB, {scores}")


if __name__ == "__main__":
    main()

"""Write a trained model as a folder that has all it needs to translate raw text.

  tiednmt export runs/checkpoint_best.pt --data data/multi30k-en-cs --out en-cs
  tiednmt export en-cs --out en-cs-int8 --int8

The folder is what tiednmt.load, tiednmt translate and tiednmt evaluate take: weights
(model.safetensors, each matrix once), dictionaries, segmentation and a card.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tiednmt.commandline import command_parser, quiet_libraries
from tiednmt.errors import one_line_errors


@one_line_errors
def main(argv: Sequence[str] | None = None, command: str = "tiednmt export") -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser(command, __doc__)
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="checkpoint of fairseq-train, or model folder"
    )
    parser.add_argument(
        "--data", type=Path, metavar="PREPARED", help="folder of preprocess.*, for a checkpoint"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--int8", action="store_true", help="round matrices to 8 bits, with a scale per row"
    )
    parser.add_argument(
        "--scores", type=Path, metavar="FILE", help="what evaluate --json wrote, for the card"
    )
    args = parser.parse_args(argv)
    quiet_libraries()

    import tiednmt.plugin  # noqa: F401
    from tiednmt.export.card import scores_in
    from tiednmt.export.model_folder import write_model_folder
    from tiednmt.export.reading import read_trained

    trained = read_trained(args.model, args.data)
    scores = scores_in(args.scores, args.model) if args.scores else None
    write_model_folder(args.out, trained, args.int8, scores)
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {size / 1e6:.1f} MB, {trained.model.tie_map.signature}")


if __name__ == "__main__":
    main()

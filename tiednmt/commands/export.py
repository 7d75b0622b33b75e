"""Write a trained model as a folder with everything that translating raw text needs.

  tiednmt export runs/checkpoint_best.pt --data data/multi30k-en-cs --out en-cs
  tiednmt export en-cs --out en-cs-int8 --int8
  tiednmt export en-cs --out en-cs-onnx --to onnx

By default it is a model folder, which tiednmt.load, tiednmt translate and tiednmt evaluate take:
weights (model.safetensors), dictionaries, segmentation and a card. --to writes for another engine:
ctranslate2 (Transformers; also --int8), marian (Transformers, as Hugging Face's MarianMTModel) or
onnx (every architecture). Each format stores a tied matrix once.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tiednmt.commandline import command_parser, quiet_libraries
from tiednmt.errors import one_line_errors

if TYPE_CHECKING:
    from tiednmt.export.trained import TrainedModel

ENGINES = ("tiednmt", "ctranslate2", "marian", "onnx")


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.scores and args.to != "tiednmt":
        parser.error(f"--scores is for the card of a model folder, not for --to {args.to}")
    if args.int8 and args.to not in ("tiednmt", "ctranslate2"):
        parser.error(f"--int8 is for model folders and ctranslate2, not for --to {args.to}")
    quiet_libraries()

    import tiednmt.plugin  # noqa: F401
    from tiednmt.export.reading import read_trained
    from tiednmt.export.trained import require_ours

    trained = require_ours(args.model, read_trained(args.model, args.data))
    _write(args, trained)
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {size / 1e6:.1f} MB, {trained.model.tie_map.signature}")


def _parser() -> ArgumentParser:
    parser = command_parser("tiednmt export", __doc__)
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="checkpoint of fairseq-train, or model folder"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PREPARED",
        help="prepared folder of a checkpoint (default: the one it was trained on)",
    )
    parser.add_argument(
        "--out", "--output", type=Path, required=True, metavar="DIR", help="folder to write"
    )
    parser.add_argument(
        "--int8", action="store_true", help="round matrices to int8 with a scale per row"
    )
    parser.add_argument(
        "--to", choices=ENGINES, default=ENGINES[0], help="target format (default: tiednmt)"
    )
    parser.add_argument(
        "--scores", type=Path, metavar="FILE", help="output of evaluate --json, for the card"
    )
    return parser


def _write(args: Namespace, trained: TrainedModel) -> None:
    """The folder ``args.out`` for the engine asked for."""
    int8 = args.int8 or trained.int8
    if args.to == "tiednmt":
        from tiednmt.export.card import FLOAT32, INT8, scores_in
        from tiednmt.export.model_folder import write_model_folder

        weights = INT8 if int8 else FLOAT32
        scores = scores_in(args.scores, args.model, weights) if args.scores else None
        write_model_folder(args.out, trained, int8, scores)
    elif args.to == "ctranslate2":
        from tiednmt.export.to_ctranslate2 import write_ctranslate2

        write_ctranslate2(args.out, trained, int8)
    elif args.to == "marian":
        from tiednmt.export.to_marian import write_marian

        write_marian(args.out, trained)
    else:
        from tiednmt.export.to_onnx import write_onnx

        write_onnx(args.out, trained)


if __name__ == "__main__":
    main()

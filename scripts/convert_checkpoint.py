"""A checkpoint of fairseq's own model as one of this package's, or the other way round.

  python -m scripts.convert_checkpoint transformer.pt --output tied_transformer.pt
  python -m scripts.convert_checkpoint runs/three-way/checkpoint_best.pt --output transformer.pt

The direction is that of the checkpoint's architecture: transformer <-> tied_transformer. The result
scores as the original does. It can be translated with and fine-tuned, but not resumed: it has no
state of the optimizer. A tied model must have been trained with --no-output-bias, without
--projection, and its lookups scaled by 1 or sqrt-dim, to become one of fairseq's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tiednmt.plugin  # noqa: F401
from tiednmt.checkpoints import read_checkpoint, write_checkpoint
from tiednmt.commandline import command_parser
from tiednmt.errors import UserError, one_line_errors
from tiednmt.models.conversion import convert


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("python -m scripts.convert_checkpoint", __doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="file to read")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="file to write")
    args = parser.parse_args(argv)
    state = read_checkpoint(args.checkpoint)
    try:
        converted, architecture = convert(state)
    except UserError as error:
        raise UserError(f"{args.checkpoint}: {error}") from error
    write_checkpoint(args.output, converted)
    print(f"{args.output}: {args.checkpoint.name} as a checkpoint of {architecture}")


if __name__ == "__main__":
    main()

"""Convert a checkpoint of fairseq's own model to one of this package's, or back.

  python -m scripts.convert_checkpoint transformer.pt --output tied_transformer.pt
  python -m scripts.convert_checkpoint runs/three-way/checkpoint_best.pt --output transformer.pt

The checkpoint's architecture decides the direction: transformer <-> tied_transformer, lstm <->
tied_lstm. The result scores like the original. It can translate and can be fine-tuned, but training
cannot resume from it, since it has no optimizer state. To become one of fairseq's, a tied model
must have been trained without --projection and with --no-output-bias (tied_lstm: only if its
output embedding is tied), and a Transformer with lookups scaled by 1 or sqrt-dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tiednmt.plugin  # noqa: F401
from tiednmt.checkpoints import read_checkpoint, write_checkpoint
from tiednmt.commandline import command_parser
from tiednmt.errors import UserError, one_line_errors
from tiednmt.files import refuse_to_replace
from tiednmt.models.conversion import convert


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("python -m scripts.convert_checkpoint", __doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="file to read")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="file to write")
    args = parser.parse_args(argv)
    refuse_to_replace(args.output, args.checkpoint)
    state = read_checkpoint(args.checkpoint)
    try:
        converted, architecture = convert(state)
    except UserError as error:
        raise UserError(f"{args.checkpoint}: {error}") from error
    write_checkpoint(args.output, converted)
    print(f"{args.output}: {args.checkpoint.name} as a checkpoint of {architecture}")


if __name__ == "__main__":
    main()

"""Try variants of projection regularisation on PTB, in plain PyTorch.

configs/search/projection.yaml lists the variants. Each writes a file with its figures per epoch. It
continues from its last epoch after an interruption, or if more epochs are asked for. record.json
and table.md show all of them.

  python -m scripts.search_projection --data data/ptb --out runs/projection --jobs 4
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from scripts.lab.kinds.projection_search import summary
from scripts.lab.run.variants import VARIANTS, train, variants
from scripts.lab.store import summary_of, write_figures, write_record
from tiednmt.commandline import command_parser
from tiednmt.errors import UserError, resumable_command
from tiednmt.options import positive


@resumable_command
def main() -> None:
    """Try all variants, or those named; print the table."""
    parser = command_parser("python -m scripts.search_projection", __doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.add_argument(
        "--jobs",
        type=positive,
        default=1,
        metavar="N",
        help="models to train in parallel (default: 1)",
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="variant to train; may be repeated"
    )
    parser.add_argument(
        "--epochs", type=positive, metavar="N", help="stop after N epochs (default: all)"
    )
    parser.add_argument(
        "--seeds", type=positive, default=1, metavar="N", help="train with seeds 1 to N"
    )
    args = parser.parse_args()
    names = args.only or list(variants())
    for name in names:
        if name not in variants():
            raise UserError(f"--only {name}: {VARIANTS} has only {', '.join(variants())}")
    train(names, args.seeds, args.epochs, args.data, args.out, args.jobs)
    command = shlex.join(["python", "-m", "scripts.search_projection", *sys.argv[1:]])
    record = write_record(args.out / "record.json", summary(args.out, args.jobs, command))
    write_figures(record, args.out)
    print(summary_of(record))


if __name__ == "__main__":
    main()

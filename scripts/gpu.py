"""Run the GPU checks, one part at a time; scripts/gpu.sh brings what a bare machine lacks.

  scripts/gpu.sh check                     # kernels, dtypes, memory, CUDA beside CPU
  scripts/gpu.sh multi30k --raw multi30k   # three modes and three seeds of two models
  scripts/gpu.sh speed --raw multi30k      # beside fairseq's models
  scripts/gpu.sh ptb --raw ptb             # the paper's large language models

A part is a list of commands. Finished ones are skipped; one that does not fit into --minutes waits
for the next call, and an interrupted training resumes from its last checkpoint. The folder --out
has a record per command.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.lab.gpu import PARTS, lacking, run_part
from tiednmt.commandline import command_parser
from tiednmt.errors import UserError, resumable_command
from tiednmt.options import positive


@resumable_command
def main(argv: Sequence[str] | None = None) -> None:
    """Run a part; exit with status 1 if a command failed, 3 if one is left to run."""
    parser = command_parser("python -m scripts.gpu", __doc__)
    parser.add_argument("part", choices=PARTS, help="which checks to run")
    parser.add_argument("--raw", type=Path, metavar="DIR", help="raw files of the corpus")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/gpu"), metavar="DIR", help="folder to fill"
    )
    parser.add_argument(
        "--minutes", type=positive, default=9, metavar="N", help="time limit (default: 9)"
    )
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="run everything at a small size, on the CPU if there is no GPU, in DIR/rehearsal",
    )
    args = parser.parse_args(argv)
    missing = lacking(rehearsed=args.rehearse)
    if missing:
        raise UserError(f"this machine lacks {'; '.join(missing)}")
    sys.exit(run_part(args.part, args.out, args.raw, args.minutes, args.rehearse))


if __name__ == "__main__":
    main()

"""Show which matrices of a model are tied: as stored, by value, and as claimed.

  tiednmt inspect runs/checkpoint_best.pt
  tiednmt inspect opus-mt-en-de/ model.npz joey/best.ckpt eole/model.00.safetensors

Reads checkpoints of fairseq, safetensors and PyTorch files of Hugging Face, .npz of Marian,
checkpoints of JoeyNMT, OpenNMT-py and eole, and folders with safetensors, pytorch_model.bin or an
.npz. The claim is what the configuration says, in the file or next to it. The exit status is 1 if
claim and tensors disagree, or if a file cannot be read. A pickle that could run code is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tiednmt.commandline import command_parser, quiet_libraries
from tiednmt.errors import explain, one_line_errors, shown


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("tiednmt inspect", __doc__)
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="checkpoint, model file, or folder of one",
    )
    args = parser.parse_args(argv)
    quiet_libraries()

    from tiednmt.inspection.findings import inspect

    faults = 0
    for file in args.files:
        try:
            findings = inspect(file)
        except Exception as error:
            line = explain(error)
            if line is None or len(args.files) == 1:
                raise
            print(f"error: {shown(line)}", file=sys.stderr)
            faults += 1
            continue
        print(shown(str(findings)))
        faults += not findings.agrees
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    main()

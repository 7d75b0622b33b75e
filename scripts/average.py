"""The mean of the weights of several checkpoints of one training run, as one checkpoint.

  python -m scripts.average runs/three-way --last 5 --output runs/three-way/average.pt
  python -m scripts.average a/checkpoint8.pt a/checkpoint9.pt --output a/average.pt

With --last, the checkpoints of fewest updates are left out; those that fairseq names by epoch are
taken where there are none by updates. A tied matrix stands in a checkpoint once, so its mean is
tied as well. The outcome can be translated with and fine-tuned, not resumed: it has no state of
the optimizer.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq.checkpoint_utils import checkpoint_paths

import tiednmt.plugin  # noqa: F401
from preprocess.files import named_when_whole
from scripts.common import positive
from tiednmt.checkpoints import read_checkpoint
from tiednmt.errors import UserError, one_line_errors

NAMES = (r"checkpoint_\d+_(\d+)\.pt", r"checkpoint(\d+)\.pt")  # by updates, by epoch


def average(paths: Sequence[Path]) -> dict[str, Any]:
    """What the last checkpoint holds, its weights the mean of all.

    Raises:
        UserError: a checkpoint cannot be read, or is of another model than the first.
    """
    state: dict[str, Any] = {}
    sums: dict[str, torch.Tensor] = {}
    for path in paths:
        state = read_checkpoint(path)
        weights = {n: w.double() for n, w in state["model"].items() if w.is_floating_point()}
        if sums and _shapes(sums) != _shapes(weights):
            raise UserError(f"{path}: of another model than {paths[0]}; average those of one run")
        sums = {name: sums.get(name, 0) + weight for name, weight in weights.items()}
    kinds = {name: weight.dtype for name, weight in state["model"].items()}
    means = {name: (total / len(paths)).to(kinds[name]) for name, total in sums.items()}
    return {**state, "model": {**state["model"], **means}, "last_optimizer_state": None}


def _shapes(weights: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}


def last_checkpoints(folder: Path, count: int) -> list[Path]:
    """The ``count`` checkpoints of a run's folder with the most updates, the last one last.

    Raises:
        UserError: there are fewer.
    """
    found: list[str] = next(filter(None, (checkpoint_paths(str(folder), n) for n in NAMES)), [])
    if len(found) < count:
        raise UserError(
            f"{folder}: has {len(found)} checkpoints, not {count}; let fairseq-train keep more"
            " (--save-interval-updates, --keep-interval-updates)"
        )
    return [Path(path) for path in reversed(found[:count])]


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.average",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help="or, with --last, a folder"
    )
    parser.add_argument("--last", type=positive, metavar="N", help="the last N of the folder")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    args = parser.parse_args(argv)
    paths = args.checkpoints
    if args.last:
        if len(paths) != 1 or not paths[0].is_dir():
            parser.error("--last takes the folder of one run")
        paths = last_checkpoints(paths[0], args.last)
    state = average(paths)
    with named_when_whole(args.output) as partial:
        torch.save(state, partial)
    print(f"{args.output}: the mean of {', '.join(path.name for path in paths)}")


if __name__ == "__main__":
    main()

"""The output layer's loss and gradients beside a plain product and cross-entropy.

Each run is a process of its own, so that its peak of memory is its own:

  python -m scripts.lab.benchmarks.output_layer ours --tokens 4096 --types 94000 --dim 500
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scripts.common import positive
from scripts.lab.benchmarks.compare import Measured, Side, peak_memory, printed_by_module
from tiednmt.modules import OutputLayer
from tiednmt.tuned_process import use_exact_onednn

WHAT = "tokens a second, loss and gradients of the output layer in single precision"
PADDING = 1


def output_layer_sides(args: argparse.Namespace) -> tuple[Side, Side]:
    """Our layer, and ``linear`` with ``cross_entropy``."""
    return (
        Side("tiednmt.modules.OutputLayer", partial(_in_a_process, "ours", args)),
        Side("linear and cross_entropy", partial(_in_a_process, "plain", args)),
    )


def _in_a_process(side: str, args: argparse.Namespace) -> Measured:
    sizes = [f"--{name}={getattr(args, name)}" for name in ("tokens", "types", "dim")]
    command = ["scripts.lab.benchmarks.output_layer", side, *sizes]
    return Measured(**printed_by_module(command, args.threads))


def measure(side: str, tokens: int, types: int, dim: int) -> Measured:
    """Loss and gradients once to warm up and once for the clock; the peak above what was there."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if side == "ours":
        use_exact_onednn()  # as our models do
    torch.manual_seed(1)
    layer = OutputLayer(nn.Embedding(types, dim)).to(device)
    features = torch.randn(tokens, dim, device=device, requires_grad=True)
    target = torch.randint(2, types, (tokens,), device=device)
    before = peak_memory()
    seconds = 0.0
    for _ in range(2):
        layer.zero_grad()
        started = time.perf_counter()
        loss(side, layer, features, target).backward()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return Measured(tokens / seconds, peak_memory() - before)


def loss(side: str, layer: OutputLayer, features: Tensor, target: Tensor) -> Tensor:
    """The summed loss, ``ours`` or ``plain``."""
    if side == "ours":
        return layer.loss(features, target, PADDING).loss
    return F.cross_entropy(layer(features), target, ignore_index=PADDING, reduction="sum")


def main() -> None:
    """Print one measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=("ours", "plain"))
    add_sizes(parser)
    args = parser.parse_args()
    measured = measure(args.side, args.tokens, args.types, args.dim)
    print(json.dumps({"speed": measured.speed, "memory": measured.memory}))


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """How much is computed; the defaults are those of the paper's English-French model."""
    parser.add_argument("--tokens", type=positive, default=4096, metavar="N")
    parser.add_argument("--types", type=positive, default=94_000, metavar="N")
    parser.add_argument("--dim", type=positive, default=500, metavar="N")


if __name__ == "__main__":
    main()

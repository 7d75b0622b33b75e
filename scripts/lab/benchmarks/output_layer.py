"""The output layer's loss and gradients beside a plain product and cross-entropy.

Each run is a process of its own, so that its peak of memory is its own:

  python -m scripts.lab.benchmarks.output_layer ours --tokens 4096 --types 94000 --dim 500
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scripts.lab.benchmarks.compare import (
    Measured,
    Side,
    compare,
    peak_memory,
    printed_by_module,
)
from scripts.lab.benchmarks.options import Paired
from tiednmt.modules import OutputLayer
from tiednmt.options import add_options, command_words, from_arguments, option, positive
from tiednmt.tuned_process import use_exact_onednn

WHAT = "tokens a second, loss and gradients of the output layer in single precision"
PADDING = 1


@dataclass(frozen=True)
class Sizes:
    """How much is computed; the defaults are those of the paper's English-French model."""

    tokens: int = option("tokens at once", default=4096, type=positive)
    types: int = option("vocabulary size", default=94_000, type=positive)
    dim: int = option("embedding size", default=500, type=positive)


@dataclass(frozen=True, kw_only=True)
class Loss(Paired, Sizes):
    """Options of ``scripts.benchmark output-layer``."""

    @property
    def sizes(self) -> Sizes:
        """What each side is given."""
        return Sizes(self.tokens, self.types, self.dim)


def measure(options: Loss) -> dict[str, Any]:
    """Our layer, and ``linear`` with ``cross_entropy``."""
    return compare(
        Side("tiednmt.modules.OutputLayer", partial(_in_a_process, "ours", options)),
        Side("linear and cross_entropy", partial(_in_a_process, "plain", options)),
        options.runs,
    )


def _in_a_process(side: str, options: Loss) -> Measured:
    command = ["scripts.lab.benchmarks.output_layer", side, *command_words(options.sizes)]
    return Measured(**printed_by_module(command, options.threads))


def measure_side(side: str, sizes: Sizes) -> Measured:
    """Loss and gradients once to warm up and once for the clock; the peak above what was there."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if side == "ours":
        use_exact_onednn()  # as our models do
    torch.manual_seed(1)
    layer = OutputLayer(nn.Embedding(sizes.types, sizes.dim)).to(device)
    features = torch.randn(sizes.tokens, sizes.dim, device=device, requires_grad=True)
    target = torch.randint(2, sizes.types, (sizes.tokens,), device=device)
    before = peak_memory()
    seconds = 0.0
    for _ in range(2):
        layer.zero_grad()
        started = time.perf_counter()
        loss(side, layer, features, target).backward()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return Measured(sizes.tokens / seconds, peak_memory() - before)


def loss(side: str, layer: OutputLayer, features: Tensor, target: Tensor) -> Tensor:
    """The summed loss, ``ours`` or ``plain``."""
    if side == "ours":
        return layer.loss(features, target, PADDING).loss
    return F.cross_entropy(layer(features), target, ignore_index=PADDING, reduction="sum")


def main() -> None:
    """Print one measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=("ours", "plain"))
    add_options(parser, Sizes)
    args = parser.parse_args()
    print(json.dumps(asdict(measure_side(args.side, from_arguments(Sizes, args)))))


if __name__ == "__main__":
    main()

"""The output layer's loss and gradients against a plain product and cross-entropy, or a kernel.

On a CPU each run is a process of its own, so that its peak of memory is its own:

  python -m scripts.lab.benchmarks.output_layer ours --tokens 4096 --vocabulary 94000 --dim 500
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scripts.lab.benchmarks.compare import Measured, Side, compare
from scripts.lab.benchmarks.measured_process import peak_memory, printed_by_module
from scripts.lab.benchmarks.options import Paired
from tiednmt.errors import UserError
from tiednmt.modules import OutputLayer
from tiednmt.options import add_options, command_words, from_arguments, option, positive
from tiednmt.tuned_process import use_exact_onednn

WHAT = "tokens per second, loss and gradients of the output layer"
PADDING = 1
OURS, PLAIN, LIGER, CUT = "ours", "plain", "liger", "cut-cross-entropy"
NAMES = {
    OURS: "tiednmt.modules.OutputLayer",
    PLAIN: "linear and cross_entropy",
    LIGER: "Liger's fused linear cross-entropy",
    CUT: "Apple's cut cross-entropy, which has no bias",
}
PACKAGES = {LIGER: "liger_kernel", CUT: "cut_cross_entropy"}  # that a side needs, for a GPU


@dataclass(frozen=True)
class Sizes:
    """How much is computed; the defaults are those of the paper's English-French model."""

    tokens: int = option("tokens per batch", default=4096, type=positive)
    vocabulary: int = option("vocabulary size", default=94_000, type=positive)
    dim: int = option("embedding size", default=500, type=positive)
    dtype: str = option(
        "dtype of weights and features", choices=("float32", "bfloat16"), default="float32"
    )


@dataclass(frozen=True, kw_only=True)
class Loss(Paired, Sizes):
    """Options of ``scripts.benchmark output-layer``.

    Raises:
        UserError: what ours is compared with is not installed.
    """

    against: str = option("what to compare with", choices=(PLAIN, LIGER, CUT), default=PLAIN)

    def __post_init__(self) -> None:
        package = PACKAGES.get(self.against)
        if package is not None and not find_spec(package):
            raise UserError(f"--against {self.against}: pip install {package.replace('_', '-')}")

    @property
    def sizes(self) -> Sizes:
        """The sizes that each side computes."""
        return Sizes(self.tokens, self.vocabulary, self.dim, self.dtype)


def measure(options: Loss) -> dict[str, Any]:
    """Our layer, and what it is compared with."""
    ours, theirs = (
        Side(f"{NAMES[side]}, {options.dtype}", partial(_measured, side, options))
        for side in (OURS, options.against)
    )
    return compare(ours, theirs, options.runs)


def _measured(side: str, options: Loss) -> Measured:
    if torch.cuda.is_available():
        return measure_side(side, options.sizes)
    command = ["scripts.lab.benchmarks.output_layer", side, *command_words(options.sizes)]
    return Measured(**printed_by_module(command, options.threads))


def measure_side(side: str, sizes: Sizes) -> Measured:
    """Loss and gradients once to warm up and once for the clock; the peak above what was there."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if side == OURS:
        use_exact_onednn()  # as our models do
    torch.manual_seed(1)
    place = {"device": device, "dtype": getattr(torch, sizes.dtype)}
    layer = OutputLayer(nn.Embedding(sizes.vocabulary, sizes.dim)).to(**place)
    features = torch.randn(sizes.tokens, sizes.dim, **place, requires_grad=True)
    target = torch.randint(2, sizes.vocabulary, (sizes.tokens,), device=device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = peak_memory()
    seconds = 0.0
    for _ in range(2 if device == "cpu" else 10):
        layer.zero_grad()
        started = time.perf_counter()
        loss(side, layer, features, target).backward()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return Measured(sizes.tokens / seconds, peak_memory() - before)


def loss(side: str, layer: OutputLayer, features: Tensor, target: Tensor) -> Tensor:
    """The summed loss, by one of ``NAMES``."""
    weight = layer.embedding.weight
    if side == OURS:
        return layer.loss(features, target, PADDING).loss
    if side == LIGER:
        from liger_kernel.ops import LigerFusedLinearCrossEntropyFunction

        settings = (None, PADDING, 0.0, 0.0, "sum")  # weights of types, …, no smoothing
        fused = LigerFusedLinearCrossEntropyFunction.apply
        total: Tensor = fused(features, weight, target, layer.bias, *settings)[0]
        return total
    if side == CUT:
        from cut_cross_entropy import linear_cross_entropy

        cut: Tensor = linear_cross_entropy(
            features, weight, target, ignore_index=PADDING, reduction="sum"
        )
        return cut
    scores = layer(features).float()  # as fairseq's criterions do
    return F.cross_entropy(scores, target, ignore_index=PADDING, reduction="sum")


def main() -> None:
    """Print one measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=tuple(NAMES))
    add_options(parser, Sizes)
    args = parser.parse_args()
    print(json.dumps(asdict(measure_side(args.side, from_arguments(Sizes, args)))))


if __name__ == "__main__":
    main()

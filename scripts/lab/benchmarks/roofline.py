"""What this machine could do at most: its fastest matrix products, and what the work needs.

In a process of its own, with the threads and the settings of the benchmark:

  python -m scripts.lab.benchmarks.roofline --data runs/multi30k-en-de/data --max-tokens 4000
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice
from typing import Any

import torch
from fairseq import options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from torch.utils.flop_counter import FlopCounterMode

from scripts.lab.benchmarks.measured_process import printed_by_module
from scripts.lab.benchmarks.options import OurModel, PreparedData, in_batches
from scripts.lab.run.specs import fairseq_train_arguments
from tiednmt.modules.linear import has_bfloat16_products
from tiednmt.options import add_options, command_words, from_arguments, option, positive
from tiednmt.tuned_process import use_exact_onednn

SMALLEST, LARGEST = 512, 8192  # square matrices, of twice the size until a product takes …
LONG_ENOUGH = 0.05  # seconds
COPIED = {"cpu": 4 << 20, "cuda": 64 << 20}  # numbers in single precision
BACKWARD = 2  # products of the backward pass for one of the forward pass
BATCHES = 20


@dataclass(frozen=True, kw_only=True)
class Work(OurModel, PreparedData):
    """The model that is trained, and the data."""

    experiment: str | None = option("experiment of the row", default="multi30k-en-de")
    max_tokens: int = option("tokens per batch", default=4000, type=positive)

    @classmethod
    def of(cls, options: Any) -> Work:
        """The same options of a benchmark that has more."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})


def share_of_limit(options: Any, tokens_per_second: float) -> dict[str, Any]:
    """What the machine allows, measured in a process of its own, and how much of it ours reaches.

    Args:
        options: those of a benchmark that trains a translation model, with ``threads``.
        tokens_per_second: by which our model trains.
    """
    command = ["scripts.lab.benchmarks.roofline", *command_words(Work.of(options))]
    limit: dict[str, Any] = printed_by_module(command, options.threads)
    achieved = tokens_per_second * limit["gflops_per_token"]
    shares = {
        share: round(achieved / limit["gflops_per_second"][precision], 3)
        for share, precision in (("share", options.precision), ("share_of_single", "single"))
    }
    return {**limit, **shares}


def rates() -> dict[str, Any]:
    """GFLOP/s of large products and GB/s of a copy.

    The products of training in each precision (``highest``, ``medium``, ``bf16``), and the fastest
    in single precision (``single``), with whatever kernels torch has for it.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    single = torch.float32
    as_torch_comes = _product_rate(device, single)
    use_exact_onednn()
    highest = _product_rate(device, single)
    rounded = torch.bfloat16 if device == "cpu" and has_bfloat16_products() else single
    with _medium_precision(device):
        medium = _product_rate(device, rounded)
    products = {
        "highest": highest,
        "medium": medium,
        "single": max(as_torch_comes, highest),
        "bf16": _product_rate(device, torch.bfloat16),
    }
    read, written = torch.randn(2, COPIED[device], device=device)
    copies = _rate(lambda: written.copy_(read), 2 * read.nbytes)
    return {
        "gflops_per_second": {name: round(rate, 1) for name, rate in products.items()},
        "copy_gigabytes_per_second": round(copies, 1),
    }


@contextmanager
def _medium_precision(device: str) -> Iterator[None]:
    """On a GPU torch rounds to TF32 itself; on a CPU the models of this package do."""
    before = torch.get_float32_matmul_precision()
    if device == "cuda":
        torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def _product_rate(device: str, dtype: torch.dtype) -> float:
    """GFLOP/s, of matrices that are large and yet multiplied in a moment."""
    size = SMALLEST
    while True:
        operand = torch.randn(size, size, device=device).to(dtype)
        product = partial(torch.matmul, operand, operand)
        product()
        if size == LARGEST or _seconds(product) > LONG_ENOUGH:
            return _rate(product, 2 * size**3)
        size *= 2


def _rate(work: Callable[[], Any], amount: float, seconds: float = 1.0) -> float:
    """Giga-units per second, the best of what fits in ``seconds`` after a first time."""
    work()
    best, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < seconds:
        best = min(best, _seconds(work))
    return amount / best / 1e9


def _seconds(work: Callable[[], Any]) -> float:
    _wait_for_gpu()
    begin = time.perf_counter()
    work()
    _wait_for_gpu()
    return time.perf_counter() - begin


def _wait_for_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def flops_per_token(work: Work) -> float:
    """The operations in products of the forward and backward pass, per target token."""
    recipe = in_batches(work.recipe(), work.max_tokens)
    parser = options.get_training_parser()
    command = [str(work.data / "data-bin"), "--cpu", *fairseq_train_arguments(recipe)]
    config = convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, command))
    task = tasks.setup_task(config.task)
    model = task.build_model(config.model)
    task.load_dataset("train")
    batches = task.get_batch_iterator(task.dataset("train"), max_tokens=work.max_tokens, seed=1)
    tokens = 0
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for sample in islice(batches.next_epoch_itr(), BATCHES):
            model(**sample["net_input"])
            tokens += sample["ntokens"]
    return (1 + BACKWARD) * counter.get_total_flops() / tokens


def main() -> None:
    """Print the rates and the work as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, Work)
    needed = flops_per_token(from_arguments(Work, parser.parse_args()))
    print(json.dumps({**rates(), "gflops_per_token": round(needed / 1e9, 5)}))


if __name__ == "__main__":
    main()

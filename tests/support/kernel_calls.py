"""Calls of kernels as they should be, and with tensors that they cannot read.

As a program it prints the latter that raise no ValueError; ``python -O`` must change nothing.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

ROWS, SIZE, WIDTH, VOCABULARY = 3, 6, 5, 30

# kernel → what it takes: a tensor as its shape, or as (shape, dtype), or what is none
Calls = dict[str, dict[str, Any]]


def steps(length: int = 4) -> Calls:
    """Those of training, which GPUs have too, over sources of this length."""
    return {
        "step": {
            "gates": (ROWS, 3 * SIZE),
            "candidates": (ROWS, SIZE),
            "from_input": (ROWS, 3 * SIZE),
            "state": (ROWS, SIZE),
            "out": (ROWS, SIZE),
        },
        "step_back": {
            "gates": (ROWS, 3 * SIZE),
            "candidates": (ROWS, SIZE),
            "before": (ROWS, SIZE),
            "grad": (ROWS, SIZE),
            "from_input": (ROWS, 3 * SIZE),
            "from_state": (ROWS, 3 * SIZE),
        },
        "lstm_step": {
            "gates": (ROWS, 4 * SIZE),
            "before": (ROWS, SIZE),
            "cells": (ROWS, SIZE),
            "out": (ROWS, SIZE),
        },
        "lstm_step_back": {
            "gates": (ROWS, 4 * SIZE),
            "before": (ROWS, SIZE),
            "cells": (ROWS, SIZE),
            "grad": (ROWS, SIZE),
            "grad_cell": (ROWS, SIZE),
            "grad_gates": (ROWS, 4 * SIZE),
        },
        "attend": {
            "keys": (ROWS, length, SIZE),
            "annotations": (ROWS, length, WIDTH),
            "score": (SIZE,),
            "query": (ROWS, SIZE),
            "padding": ((ROWS, length), torch.bool),
            "attention": (ROWS, length),
            "context": (ROWS, WIDTH),
        },
        "attend_back": {
            "keys": (ROWS, length, SIZE),
            "annotations": (ROWS, length, WIDTH),
            "score": (SIZE,),
            "query": (ROWS, SIZE),
            "attention": (ROWS, length),
            "grad_context": (ROWS, WIDTH),
            "grad_keys": (ROWS, length, SIZE),
            "grad_score": (ROWS, SIZE),
            "grad_query": (ROWS, SIZE),
        },
    }


LOSS: Calls = {
    "loss_of_chunk": {
        "products": (ROWS, VOCABULARY),
        "bias": (VOCABULARY,),
        "target": ((ROWS,), torch.int64),
        "counts": (ROWS,),
        "smoothing": (0.9, 0.1),
        "differentiate": True,
    },
}

OTHERS: Calls = {
    "divergence_of_pairs": {
        "products": (2 * ROWS, VOCABULARY),
        "bias": (VOCABULARY,),
        "counts": (2 * ROWS,),
    },
    "log_partition": {"scores": (ROWS, 2, VOCABULARY)},
    "best": {"scores": (ROWS, 2, VOCABULARY), "base": (ROWS, 2), "count": 3},
    "round_rows": {"rows": (ROWS, SIZE)},
    "rescale": {
        "product": ((ROWS, SIZE), torch.int32),
        "of_row": (ROWS, 1),
        "of_column": (SIZE,),
        "bias": (SIZE,),
    },
    "add_rounded": {
        "addend": (SIZE,),
        "product": ((ROWS, SIZE), torch.bfloat16),
        "out": (ROWS, SIZE),
    },
    "attend_rows": {
        "queries": (ROWS, SIZE),
        "keys": (WIDTH, SIZE),
        "values": (WIDTH, SIZE),
        "query_starts": torch.tensor([0, 1, ROWS]),
        "key_starts": torch.tensor([0, 1, WIDTH]),
        "out": (ROWS, SIZE),
        "heads": 2,
    },
    "attend_rows_back": {
        "queries": (ROWS, SIZE),
        "keys": (WIDTH, SIZE),
        "values": (WIDTH, SIZE),
        "query_starts": torch.tensor([0, 1, ROWS]),
        "key_starts": torch.tensor([0, 1, WIDTH]),
        "grad": (ROWS, SIZE),
        "grad_queries": (ROWS, SIZE),
        "grad_keys": (WIDTH, SIZE),
        "grad_values": (WIDTH, SIZE),
        "heads": 2,
    },
    "attend_places": {
        "queries": (ROWS, 2, SIZE),
        "keys": (ROWS, WIDTH, SIZE),
        "values": (ROWS, WIDTH, SIZE),
        "places": ((ROWS, 2, 4), torch.int64),
        "counts": torch.tensor([1, 4, 2]),
        "heads": 2,
        "aligned_heads": 1,
    },
    "drop": {"tensor": (ROWS, SIZE), "threshold": 100, "scale": 2.0, "seed": 1},
}


def made(what: Any, dtype: torch.dtype = torch.float32) -> Any:
    """A tensor, if ``what`` is a shape, or a shape and a dtype."""
    if not isinstance(what, tuple) or isinstance(what[0], float):
        return what
    shape, dtype = what if isinstance(what[0], tuple) else (what, dtype)
    return torch.zeros(shape, dtype=dtype)


def misuses(tensor: Tensor) -> dict[str, Tensor]:
    """The tensor, wrong in one way each."""
    wrong = {
        "a row too few": tensor[:-1],
        "a row too long": torch.zeros(*tensor.shape[:-1], tensor.size(-1) + 1, dtype=tensor.dtype),
        "a dimension more": tensor.expand(2, 2, *tensor.shape),
        "another dtype": tensor.to(torch.int16),
    }
    if tensor.dtype == torch.float32:
        wrong["float16"] = tensor.half()
        wrong["float64"] = tensor.double()
    if tensor.size(-1) > 1:
        wrong["gaps in its rows"] = torch.zeros(
            *tensor.shape[:-1], 2 * tensor.size(-1), dtype=tensor.dtype
        )[..., ::2]
    return wrong


def accepted(kernels: ModuleType, calls: Calls, but: tuple[str, ...] = ()) -> list[str]:
    """The misuses that raise no ValueError; the calls as they should be must raise nothing.

    Args:
        kernels: a module of kernels.
        calls: kernel → its arguments.
        but: misuses that are left out.
    """
    found = []
    for kernel, arguments in calls.items():
        run = getattr(kernels, kernel)
        run(**{name: made(what) for name, what in arguments.items()})
        for name, what in arguments.items():
            if not isinstance(made(what), Tensor):
                continue
            for cause, wrong in misuses(made(what)).items():
                if cause in but or (kernel, name, cause) in HARMLESS:
                    continue
                try:
                    run(**{n: wrong if n == name else made(w) for n, w in arguments.items()})
                except ValueError:
                    continue
                except Exception as error:
                    found.append(f"{kernel}, {name}, {cause}: {error!r}")
                else:
                    found.append(f"{kernel}, {name}, {cause}: accepted")
    return found


# what decides about the other shapes, or is copied before it is read
HARMLESS = {
    *(("log_partition", "scores", cause) for cause in ("a row too few", "a row too long")),
    ("log_partition", "scores", "float64"),
    *(("round_rows", "rows", cause) for cause in ("a row too few", "a row too long")),
    ("round_rows", "rows", "gaps in its rows"),
    *(("drop", "tensor", cause) for cause in ("a row too few", "a row too long")),
    *(("drop", "tensor", cause) for cause in ("a dimension more", "float64")),
    ("drop", "tensor", "gaps in its rows"),
    ("best", "scores", "a row too long"),
    ("attend_places", "places", "a row too long"),
}

if __name__ == "__main__":
    from tiednmt.kernels import cpu

    print(*accepted(cpu, {**steps(), **LOSS, **OTHERS}), sep="\n")

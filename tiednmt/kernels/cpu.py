"""The kernels of ``cpu.cpp``, which is compiled when the package is installed.

They take float32 or float64 tensors on the CPU whose rows are contiguous, write into those that
are given for it, and use as many threads as torch does. Importing this where nothing was compiled
is an ImportError.
"""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tiednmt.modules.attention import Attention
    from tiednmt.modules.conditional_gru import StepMemory
    from tiednmt.modules.cross_entropy import Smoothing
    from tiednmt.modules.gru import Transition


def _load() -> ctypes.CDLL:
    compiled = find_spec("tiednmt.kernels._cpu")
    if compiled is None or compiled.origin is None:
        raise ImportError(
            "tiednmt's kernels are not compiled; with a C++ compiler that knows OpenMP (Debian: "
            "apt install g++), pip install --no-deps --editable CLONE compiles them"
        )
    try:
        return ctypes.CDLL(compiled.origin)
    except OSError as error:
        raise ImportError(f"tiednmt's kernels cannot be loaded: {error}") from error


_kernels = _load()
# What tensors may be; bfloat16 is for products alone, with the rest in float32.
TYPES = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "rounded"}


def step(transition: Transition, rows: slice, x: Tensor, state: Tensor, out: Tensor) -> None:
    """:meth:`tiednmt.modules.gru.Transition.step`."""
    gates, candidates = transition.gates[..., rows, :], transition.candidates[..., rows, :]
    _run("step", state.dtype, (gates, x, state, candidates, out), *_sizes(state))


def step_back(transition: Transition, rows: slice, grad: Tensor, from_state: Tensor) -> None:
    """:meth:`tiednmt.modules.gru.Transition.step_back`."""
    gates, candidates, before, from_input = (
        of_all[..., rows, :]
        for of_all in (
            transition.gates,
            transition.candidates,
            transition.before,
            transition.from_input,
        )
    )
    matrices = (gates, candidates, before, grad, from_input, from_state)
    _run("step_back", grad.dtype, matrices, *_sizes(grad))


def attend(
    over: Attention, query: Tensor, padding: Tensor, attention: Tensor, context: Tensor
) -> None:
    """:meth:`tiednmt.modules.attention.Attention.step`."""
    of_each = (one.unsqueeze(1) for one in (query, attention, context))
    matrices = (over.keys, over.annotations, padding, over.score, *of_each)
    _run("attend", query.dtype, matrices, len(query), 1, *_sizes_of_attention(over))


def attend_together(memory: StepMemory, score: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Attention (B × K × S) and contexts (B × K × n) of K queries a source, without a gradient in
    mind; see :meth:`tiednmt.modules.conditional_gru.ConditionalGRU.step`.
    """
    batch, length, size = memory.keys.shape
    rows, width = query.size(1), memory.values.size(2)
    attention = query.new_empty(batch, rows, length)
    context = query.new_empty(batch, rows, width)
    sources = (memory.keys.contiguous(), memory.values.contiguous(), memory.padding)
    matrices = (*sources, score, query, attention, context)
    _run("attend", query.dtype, matrices, batch, rows, length, size, width)
    return attention, context


def attend_back(
    over: Attention, query: Tensor, attention: Tensor, grad_context: Tensor, grad_query: Tensor
) -> None:
    """:meth:`tiednmt.modules.attention.Attention.step_back`."""
    given = (over.keys, over.annotations, over.score, query, attention, grad_context)
    grad_scores = torch.empty_like(attention)
    written = (grad_scores, over.grad_keys, over.grad_score, grad_query)
    sizes = len(query), *_sizes_of_attention(over)
    _run("attend_back", query.dtype, (*given, *written), *sizes)


def move(from_input: Tensor, from_state: Tensor, state: Tensor) -> Tensor:
    """:func:`tiednmt.modules.gru.transition`; ``from_state`` is overwritten."""
    out, candidates = torch.empty_like(state), torch.empty_like(state)
    _run("step", state.dtype, (from_state, from_input, state, candidates, out), *_sizes(state))
    return out


def log_partition(scores: Tensor) -> Tensor:
    """log Σ exp of the last dimension of B × K × types."""
    found = scores.new_empty(*scores.shape[:2], 1)
    _run("log_partition", scores.dtype, (scores, found), *scores.shape)
    return found.squeeze(2)


def best(scores: Tensor, base: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` highest of ``scores`` (B × K × types) + ``base`` (B × K) of each sentence, and
    where they are among its K · types, each B × count. Where fewer than that are numbers above −∞,
    the rest are −∞ and anywhere.
    """
    sums = scores.new_empty(len(scores), count)
    places = torch.empty_like(sums, dtype=torch.int64)
    _run("best", scores.dtype, (scores, base, sums, places), *scores.shape, count)
    return sums, places


def round_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers of 8 bits and the scale (N × 1) that makes them ``rows`` (N × n) again."""
    whole, scale = torch.empty_like(rows, dtype=torch.int8), rows.new_empty(len(rows), 1)
    _run("round_rows", rows.dtype, (rows, whole, scale), *rows.shape)
    return whole, scale


def rescale(product: Tensor, of_row: Tensor, of_column: Tensor, bias: Tensor) -> Tensor:
    """A product of whole numbers of 32 bits (N × n) times the scale of its row (N × 1) and column
    (n), plus a bias (n), in its place.
    """
    out = product.view(torch.float32)
    _run("rescale", out.dtype, (of_row, of_column, bias, out), *out.shape)
    return out


def add_rounded(addend: Tensor, product: Tensor, out: Tensor) -> None:
    """``addend + product`` into ``out``, which may be the addend: N × n, or n for every row;
    the product is bfloat16, the others are float32.
    """
    _run("add", product.dtype, (addend, product, out), *out.shape)


def loss_of_chunk(
    products: Tensor,
    bias: Tensor,
    target: Tensor,
    counts: Tensor,
    smoothing: Smoothing,
    differentiate: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`tiednmt.modules.cross_entropy.loss_of_chunk`."""
    tokens, types = products.shape
    threads = min(torch.get_num_threads(), tokens)
    nll, uniform = torch.empty_like(counts), torch.empty_like(counts)
    scores = bias.new_empty(threads, types)
    grad_bias = bias.new_zeros(threads if differentiate else 0, types)
    matrices = (products, bias, target, counts, nll, uniform, scores, grad_bias)
    _run("loss", products.dtype, matrices, tokens, types, threads, *smoothing)
    return nll, uniform, grad_bias.sum(0)


def drop(tensor: Tensor, threshold: int, scale: float, seed: int) -> Tensor:
    """``scale`` times the tensor, but zeros where one of 2¹⁶ levels, drawn for each element, is
    below the threshold.
    """
    tensor = tensor.contiguous()
    out = torch.empty_like(tensor)
    matrices = tensor.view(-1), out.view(-1)
    _run("drop", tensor.dtype, matrices, tensor.numel(), seed, threshold, scale)
    return out


def _sizes(state: Tensor) -> tuple[int, int, int]:
    """Directions, rows and numbers of a row."""
    directions = state.size(0) if state.dim() == 3 else 1
    return directions, state.size(-2), state.size(-1)


def _sizes_of_attention(over: Attention) -> tuple[int, int, int]:
    _, length, size = over.keys.shape
    return length, size, over.annotations.size(2)


def _run(kernel: str, kind: torch.dtype, matrices: tuple[Tensor, ...], *sizes: int | float) -> None:
    places: list[int] = []
    for matrix in matrices:
        places += _place(matrix)
    run = getattr(_kernels, f"{kernel}_{TYPES[kind]}")
    if run.argtypes is None:
        numbers = [ctypes.c_double if isinstance(size, float) else ctypes.c_int64 for size in sizes]
        run.argtypes, run.restype = [ctypes.c_void_p, *numbers], None
    run((ctypes.c_int64 * len(places))(*places), *sizes)


def _place(matrix: Tensor) -> tuple[int, int, int]:
    """Where it lies, and the strides of its first dimensions: ``Matrix`` of ``cpu.cpp``."""
    *strides, last = matrix.stride()
    assert last == 1 or matrix.size(-1) == 1
    if len(strides) == 1:
        return matrix.data_ptr(), 0, strides[0]
    return matrix.data_ptr(), *(strides or (0, 0))

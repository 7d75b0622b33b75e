"""The kernels of ``cpu.cpp``, which is compiled when the package is installed.

They take float32 or float64 tensors on the CPU whose rows are contiguous, write into those that
are given for it, and use as many threads as torch does. Importing this where nothing was compiled
is an ImportError.
"""

from __future__ import annotations

import ctypes
from importlib.util import find_spec

import torch
from torch import Tensor


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


def step(gates: Tensor, candidates: Tensor, from_input: Tensor, state: Tensor, out: Tensor) -> None:
    """:meth:`tiednmt.modules.gru.Transition.step`, of N or B × N rows each."""
    _run("step", state.dtype, (gates, from_input, state, candidates, out), *_sizes(state))


def step_back(
    gates: Tensor,
    candidates: Tensor,
    before: Tensor,
    grad: Tensor,
    from_input: Tensor,
    from_state: Tensor,
) -> None:
    """:meth:`tiednmt.modules.gru.Transition.step_back`, of N or B × N rows each."""
    matrices = (gates, candidates, before, grad, from_input, from_state)
    _run("step_back", grad.dtype, matrices, *_sizes(grad))


def attend(
    keys: Tensor,
    annotations: Tensor,
    score: Tensor,
    query: Tensor,
    padding: Tensor,
    attention: Tensor,
    context: Tensor,
) -> None:
    """:meth:`tiednmt.modules.attention.Attention.step`, of one query a source, or of K (B × K ×
    size; attention and contexts then likewise).
    """
    if query.dim() == 2:
        query, attention, context = (one.unsqueeze(1) for one in (query, attention, context))
    matrices = (keys, annotations, padding, score, query, attention, context)
    sizes = *query.shape[:2], *keys.shape[1:], annotations.size(2)
    _run("attend", query.dtype, matrices, *sizes)


def attend_back(
    keys: Tensor,
    annotations: Tensor,
    score: Tensor,
    query: Tensor,
    attention: Tensor,
    grad_context: Tensor,
    grad_keys: Tensor,
    grad_score: Tensor,
    grad_query: Tensor,
) -> None:
    """:meth:`tiednmt.modules.attention.Attention.step_back`, of one query a source."""
    given = (keys, annotations, score, query, attention, grad_context)
    written = (torch.empty_like(attention), grad_keys, grad_score, grad_query)
    sizes = len(query), *keys.shape[1:], annotations.size(2)
    _run("attend_back", query.dtype, (*given, *written), *sizes)


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
    rows = rows.contiguous()
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
    smoothing: tuple[float, float],
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

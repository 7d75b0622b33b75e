"""The kernels of ``cpu.cpp``, which is compiled when the package is installed.

They take float32 or float64 tensors on the CPU whose rows are contiguous, write into those that
are given for it, and use as many threads as torch does. A tensor of another shape, dtype or layout
than a kernel reads is a ValueError. Importing this where nothing was compiled is an ImportError.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

VERSION = 13  # of what is compiled; see cpu.cpp


def _load() -> ctypes.CDLL:
    compiled = find_spec("tiednmt.kernels._cpu")
    if compiled is None or compiled.origin is None:
        raise ImportError(
            "tiednmt's kernels are not compiled; with a C++ compiler that knows OpenMP (Debian: "
            "apt install g++), pip install --no-deps --editable CLONE compiles them"
        )
    try:
        kernels = ctypes.CDLL(compiled.origin)
    except OSError as error:
        raise ImportError(f"tiednmt's kernels cannot be loaded: {error}") from error
    try:
        version = kernels.kernels_version()
    except AttributeError:
        version = 1
    if version != VERSION:
        raise ImportError(
            f"{compiled.origin} was compiled from another version of tiednmt; "
            "pip install --no-deps --editable CLONE recompiles it"
        )
    return kernels


_kernels = _load()
# What tensors may be; bfloat16 is for products alone, with the rest in float32.
DTYPES = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "rounded"}


def step(gates: Tensor, candidates: Tensor, from_input: Tensor, state: Tensor, out: Tensor) -> None:
    """:meth:`tiednmt.modules.gru.GRUSteps.step`, of N or B × N rows each."""
    one = state.shape
    three = (*one[:-1], 3 * one[-1])
    tensors = ((gates, three), (from_input, three), (state, one), (candidates, one), (out, one))
    _run("step", state.dtype, tensors, *_sizes(state))


def step_back(
    gates: Tensor,
    candidates: Tensor,
    before: Tensor,
    grad: Tensor,
    from_input: Tensor,
    from_state: Tensor,
) -> None:
    """:meth:`tiednmt.modules.gru.GRUSteps.step_back`, of N or B × N rows each."""
    one = grad.shape
    three = (*one[:-1], 3 * one[-1])
    read = ((gates, three), (candidates, one), (before, one), (grad, one))
    written = ((from_input, three), (from_state, three))
    _run("step_back", grad.dtype, (*read, *written), *_sizes(grad))


def lstm_step(gates: Tensor, before: Tensor, cells: Tensor, out: Tensor) -> None:
    """:meth:`tiednmt.modules.lstm.LSTMSteps.step`, of N or B × N rows each."""
    one = before.shape
    tensors = ((gates, (*one[:-1], 4 * one[-1])), (before, one), (cells, one), (out, one))
    _run("lstm_step", before.dtype, tensors, *_sizes(before))


def lstm_step_back(
    gates: Tensor,
    before: Tensor,
    cells: Tensor,
    grad: Tensor,
    grad_cell: Tensor,
    grad_gates: Tensor,
) -> None:
    """:meth:`tiednmt.modules.lstm.LSTMSteps.step_back`, of N or B × N rows each."""
    one = grad.shape
    four = (*one[:-1], 4 * one[-1])
    read = ((gates, four), (before, one), (cells, one), (grad, one))
    _run("lstm_step_back", grad.dtype, (*read, (grad_cell, one), (grad_gates, four)), *_sizes(grad))


def attend(
    keys: Tensor,
    annotations: Tensor,
    score: Tensor,
    query: Tensor,
    padding: Tensor,
    attention: Tensor,
    context: Tensor,
) -> None:
    """:meth:`AdditiveAttentionSteps.step`, of one query per source, or of K.

    With K, queries are B × K × size; attention and contexts likewise.
    """
    if query.dim() == 2:
        query, attention, context = (one.unsqueeze(1) for one in (query, attention, context))
    batch, beam, size = query.shape
    (_, length, _), (_, _, width) = keys.shape, annotations.shape
    tensors = (
        (keys, (_at_least(batch, keys), length, size)),
        (annotations, (_at_least(batch, annotations), length, width)),
        (padding, (_at_least(batch, padding), length), torch.bool),
        (score, (size,)),
        (query, (batch, beam, size)),
        (attention, (batch, beam, length)),
        (context, (batch, beam, width)),
    )
    _require_whole("attend", keys, annotations)
    _run("attend", query.dtype, tensors, batch, beam, length, size, width)


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
    """:meth:`AdditiveAttentionSteps.step_back`, of one query per source."""
    batch, size = query.shape
    (_, length, _), (_, _, width) = keys.shape, annotations.shape
    tensors = (
        (keys, (_at_least(batch, keys), length, size)),
        (annotations, (_at_least(batch, annotations), length, width)),
        (score, (size,)),
        (query, (batch, size)),
        (attention, (batch, length)),
        (grad_context, (batch, width)),
        (torch.empty_like(attention), (batch, length)),
        (grad_keys, (_at_least(batch, grad_keys), length, size)),
        (grad_score, (_at_least(batch, grad_score), size)),
        (grad_query, (batch, size)),
    )
    _require_whole("attend_back", keys, annotations, grad_keys)
    _run("attend_back", query.dtype, tensors, batch, length, size, width)


def attend_rows(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    query_starts: Tensor,
    key_starts: Tensor,
    out: Tensor,
    heads: int,
    causal: bool = False,
    threshold: int = 0,
    scale: float = 1.0,
    seed: int = 0,
) -> None:
    """Put the context of each row into ``out``: its attention over the values of its sentence.

    Args:
        queries: N × dim.
        keys: M × dim.
        values: M × dim.
        query_starts: the first query of each sentence, and then N.
        key_starts: the first key of each sentence, and then M.
        out: N × dim.
        heads: a divisor of dim.
        causal: query t of a sentence attends only to its first t + 1 keys.
        threshold: of dropout on the weights; see :func:`drop`.
        scale: of weights that are kept.
        seed: of what is dropped.
    """
    read = _sentences(queries, keys, values, query_starts, key_starts)
    tensors = (*read, (out, queries.shape))
    sizes = _attending(queries, query_starts, heads)
    numbers = int(causal), seed, threshold, float(scale)
    _run("attend_rows", queries.dtype, tensors, *sizes, *numbers)


def attend_rows_back(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    query_starts: Tensor,
    key_starts: Tensor,
    grad: Tensor,
    grad_queries: Tensor,
    grad_keys: Tensor,
    grad_values: Tensor,
    heads: int,
    causal: bool = False,
    threshold: int = 0,
    scale: float = 1.0,
    seed: int = 0,
) -> None:
    """Put the gradients of what :func:`attend_rows` read into the last three tensors."""
    read = _sentences(queries, keys, values, query_starts, key_starts)
    written = ((grad_queries, queries.shape), (grad_keys, keys.shape), (grad_values, keys.shape))
    tensors = (*read, (grad, queries.shape), *written)
    sizes = _attending(queries, query_starts, heads)
    numbers = int(causal), seed, threshold, float(scale)
    _run("attend_rows_back", queries.dtype, tensors, *sizes, *numbers)


def attend_places(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    places: Tensor,
    counts: Tensor,
    heads: int,
    aligned_heads: int = 0,
) -> tuple[Tensor, Tensor | None]:
    """The context of single queries, each over keys and values at places of its own.

    Args:
        queries: B × K × dim.
        keys: B × length × dim.
        values: B × length × dim.
        places: B × K × t, where in ``length`` each query attends to.
        counts: B, how many of the places count, from the first on.
        heads: a divisor of dim.
        aligned_heads: how many of them the second result is of.

    Returns:
        Contexts, B × K × dim, and the mean of the weights of the first ``aligned_heads`` over the
        places, B × K × t, if any.
    """
    (batch, beam, dim), length = queries.shape, places.size(2)
    _require_heads("attend_places", dim, heads, aligned_heads)
    out = queries.new_empty(batch, beam, dim)
    weights = queries.new_empty(batch, beam, length) if aligned_heads else None
    tensors = (
        (queries, queries.shape),
        (keys, (batch, keys.size(1), dim)),
        (values, keys.shape),
        (places, (batch, beam, length), torch.int64),
        (counts, (batch,), torch.int64),
        (out, out.shape),
        *((one, one.shape) for one in (weights,) if one is not None),
    )
    sizes = keys.size(1), heads, dim // heads, length, aligned_heads
    fault = _run("attend_places", queries.dtype, tensors, batch, beam, *sizes)
    _refuse("attend_places", fault, keys.size(1), length)
    return out, weights


class DecoderWeights:
    """The weights of a decoder's layers as :func:`decoder_step` reads them.

    Args:
        parts: nine of each layer, one layer after another: the products of queries, keys and values
            and of the output of self-attention, and its norm; the products of queries of the source
            and of the output of that attention, and its norm; both products of the feed-forward
            network, and its norm. A product has a weight (out × in), the scales of its rows if it
            is of int8, else None, and a bias; a norm has a gain, None and a bias.
        heads: a divisor of dim.
        pre_norm: whether sublayers normalise what they read, instead of the sum after it.
        eps: of the norms.
        aligned: the layer whose attention to the source is returned, and how many of its heads.

    Raises:
        ValueError: no such weights of a decoder, or int8 whose sums single precision cannot hold.
    """

    LONGEST_INT8_SUM = 2**24 // 127**2  # of products that single precision holds exactly

    def __init__(
        self,
        parts: Sequence[tuple[Tensor, Tensor | None, Tensor]],
        heads: int,
        pre_norm: bool = False,
        eps: float = 1e-5,
        aligned: tuple[int, int] = (0, 0),
    ) -> None:
        (first, _, bias), (up, _, _) = parts[0], parts[6]
        dim, inner = first.size(-1), len(up)
        norm, own, source = (dim,), ((3 * dim, dim), (dim, dim)), ((dim, dim), (dim, dim))
        shapes: list[tuple[int, ...]]
        shapes = [*own, norm, *source, norm, (inner, dim), (dim, inner), norm]
        self.dtype, self.dim, self.inner, self.heads = bias.dtype, dim, inner, heads
        self.layers, self.pre_norm, self.eps = len(parts) // len(shapes), pre_norm, eps
        self.aligned_layer, self.aligned_heads = aligned
        _require_heads("decoder_step", dim, heads, self.aligned_heads)
        if not 0 <= self.aligned_layer < self.layers:
            raise ValueError(f"kernel decoder_step: layer {self.aligned_layer} of {self.layers}")
        self._kept = list[Tensor]()
        addresses = list[int]()
        for (weight, scale, bias), shape in zip(parts, shapes * self.layers, strict=True):
            if scale is not None and shape[1] > self.LONGEST_INT8_SUM:
                raise ValueError(f"kernel decoder_step: sums of {shape[1]} products of int8")
            addresses.append(self._keep(weight, shape, self.dtype if scale is None else torch.int8))
            addresses.append(self._keep(bias, shape[:1], self.dtype))
            addresses.append(0 if scale is None else self._keep(scale, shape[:1], self.dtype))
        self.addresses = (ctypes.c_void_p * len(addresses))(*addresses)

    def _keep(self, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        if tensor.shape != shape or tensor.dtype != dtype or not tensor.is_cpu:
            raise ValueError(
                f"kernel decoder_step: a weight of shape {tuple(tensor.shape)} and {tensor.dtype} "
                f"in the place of one of {shape} and {dtype}"
            )
        copy = tensor.detach().to(self.dtype, copy=True, memory_format=torch.contiguous_format)
        self._kept.append(_in_panels(copy) if copy.dim() == 2 else copy)
        return self._kept[-1].data_ptr()


def _in_panels(weight: Tensor) -> Tensor:
    """A weight (out × in) as panels × in × lanes of cpu.cpp, with zeros for the last panel."""
    lanes = 64 // weight.element_size()
    missing = -len(weight) % lanes
    panels: Tensor = F.pad(weight, (0, 0, 0, missing)).unflatten(0, (-1, lanes))
    return panels.transpose(1, 2).contiguous()


def decoder_step(
    rows: Tensor,
    weights: DecoderWeights,
    past: Sequence[tuple[Tensor, Tensor]],
    slots: Tensor,
    first: int,
    source: Sequence[tuple[Tensor, Tensor]],
    lengths: Tensor,
) -> tuple[Tensor, Tensor]:
    """The layers of :meth:`tiednmt.modules.transformer.DecoderStack.step`, with ReLU.

    Args:
        rows: B × K × dim, the last tokens of K hypotheses for each of B sources.
        weights: of the layers.
        past: of each layer, keys and values (B × room × dim) of the tokens so far; those of these
            tokens are written to the places from ``first`` on.
        slots: B × K × t, the places of each hypothesis, its own last token's too.
        first: see ``past``.
        source: of each layer, keys and values of the sources, B × S × dim.
        lengths: B, of the sources.

    Returns:
        The tokens after all layers, B × K × dim, and the mean of the attention of the aligned heads
        to the source, B × K × S.
    """
    batch, beam, dim = rows.shape
    if not weights.layers == len(past) == len(source):
        raise ValueError(f"kernel decoder_step: {len(past)} layers instead of {weights.layers}")
    length, source_length = slots.size(2), source[0][0].size(1)
    room = min(keys.size(1) for keys, _ in past)
    if weights.dim != dim or weights.dtype != rows.dtype or not 0 <= first <= room - beam:
        raise ValueError(f"kernel decoder_step: {beam} tokens of {dim} numbers from place {first}")
    out = rows.clone(memory_format=torch.contiguous_format)
    attention = rows.new_empty(batch, beam, source_length)
    tensors = [
        (out, out.shape),
        (slots, (batch, beam, length), torch.int64),
        (lengths, (batch,), torch.int64),
        (attention, attention.shape),
    ]
    read = (batch, source_length, dim)
    for (keys, values), (source_keys, source_values) in zip(past, source, strict=True):
        own = (batch, keys.size(1), dim)
        tensors += ((keys, own), (values, own), (source_keys, read), (source_values, read))
    sizes = batch, beam, dim, weights.heads, weights.inner, first, length, source_length
    layout = weights.aligned_heads, weights.aligned_layer, weights.layers, weights.pre_norm
    numbers = (ctypes.c_int64 * (len(sizes) + len(layout)))(*sizes, *layout)
    addresses = ctypes.addressof(numbers), ctypes.addressof(weights.addresses)
    fault = _run("decoder_step", rows.dtype, tensors, *addresses, float(weights.eps))
    _refuse("decoder_step", fault, first + beam, source_length)
    return out, attention


def _require_heads(kernel: str, dim: int, heads: int, aligned_heads: int) -> None:
    if heads < 1 or dim % heads or not 0 <= aligned_heads <= heads:
        raise ValueError(f"kernel {kernel}: {aligned_heads} of {heads} heads of {dim} numbers")


def _refuse(kernel: str, fault: int, places: int, counted: int) -> None:
    """Raise what a kernel found of the places that it was given."""
    if fault == 1:
        raise ValueError(f"kernel {kernel}: a place that is none of {places}")
    if fault == 2:
        raise ValueError(f"kernel {kernel}: a count that is none of {counted} places")


def log_partition(scores: Tensor) -> Tensor:
    """log Σ exp of the last dimension of B × K × vocabulary."""
    batch, beam, vocab_size = scores.shape
    total = scores.new_empty(batch, beam, 1)
    tensors = ((scores, scores.shape), (total, total.shape))
    _run("log_partition", scores.dtype, tensors, batch, beam, vocab_size)
    return total.squeeze(2)


def best(scores: Tensor, base: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` highest of ``scores`` (B × K × vocabulary) + ``base`` (B × K) per sentence.

    Returns:
        The sums, and their places among the K · vocabulary of their sentence, each B × count. If
        fewer sums than that are above −∞, the rest are −∞ at arbitrary places.
    """
    batch, beam, vocab_size = scores.shape
    sums = scores.new_empty(batch, count)
    places = torch.empty_like(sums, dtype=torch.int64)
    tensors = (
        (scores, scores.shape),
        (base, (batch, beam)),
        (sums, sums.shape),
        (places, places.shape, torch.int64),
    )
    _run("best", scores.dtype, tensors, batch, beam, vocab_size, count)
    return sums, places


def round_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """int8 numbers, and the scale (N × 1) that turns them back into ``rows`` (N × n)."""
    rows = rows.contiguous()
    count, width = rows.shape
    whole, scale = torch.empty_like(rows, dtype=torch.int8), rows.new_empty(count, 1)
    tensors = ((rows, rows.shape), (whole, rows.shape, torch.int8), (scale, scale.shape))
    _run("round_rows", rows.dtype, tensors, count, width)
    return whole, scale


def rescale(product: Tensor, of_row: Tensor, of_column: Tensor, bias: Tensor) -> Tensor:
    """Scale a product (N × n, int32) by row (N × 1) and column (n), add a bias (n), in place."""
    if product.dtype != torch.int32:
        raise ValueError(f"kernel rescale: a product in {product.dtype}")
    out = product.view(torch.float32)
    rows, columns = out.shape
    tensors = ((of_row, (rows, 1)), (of_column, (columns,)), (bias, (columns,)), (out, out.shape))
    _run("rescale", out.dtype, tensors, rows, columns)
    return out


def add_rounded(addend: Tensor, product: Tensor, out: Tensor) -> None:
    """Put ``addend + product`` into ``out``, which may be the addend.

    Args:
        addend: float32, N × n, or n for every row.
        product: bfloat16, N × n.
        out: float32, N × n.
    """
    rows, columns = out.shape
    tensors = (
        (addend, (columns,) if addend.dim() == 1 else (rows, columns), torch.float32),
        (product, (rows, columns), torch.bfloat16),
        (out, (rows, columns), torch.float32),
    )
    _run("add", torch.bfloat16, tensors, rows, columns)


def loss_of_chunk(
    products: Tensor,
    bias: Tensor,
    target: Tensor,
    counts: Tensor,
    smoothing: tuple[float, float],
    differentiate: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`tiednmt.modules.cross_entropy.loss_of_chunk`."""
    tokens, vocab_size = products.shape
    if tokens and not 0 <= int(target.min()) <= int(target.max()) < vocab_size:
        raise ValueError(f"kernel loss: a target that is none of {vocab_size} entries")
    exact = torch.float32 if products.dtype == torch.bfloat16 else products.dtype
    threads = min(torch.get_num_threads(), tokens)
    nll, uniform = torch.empty_like(counts), torch.empty_like(counts)
    scores = bias.new_empty(threads, vocab_size)
    grad_bias = bias.new_zeros(threads if differentiate else 0, vocab_size)
    tensors = (
        (products, products.shape),
        (bias, (vocab_size,), exact),
        (target, (tokens,), torch.int64),
        *((one, (tokens,), exact) for one in (counts, nll, uniform)),
        *((one, (len(one), vocab_size), exact) for one in (scores, grad_bias)),
    )
    sizes = tokens, vocab_size, threads, int(differentiate)
    _run("loss", products.dtype, tensors, *sizes, *map(float, smoothing))
    return nll, uniform, grad_bias.sum(0)


def divergence_of_pairs(products: Tensor, bias: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`tiednmt.modules.disagreement.divergence_of_pairs`."""
    rows, vocab_size = products.shape
    if rows % 2:
        raise ValueError(f"kernel divergence: {rows} rows, which are no pairs")
    exact = torch.float32 if products.dtype == torch.bfloat16 else products.dtype
    threads = min(torch.get_num_threads(), rows // 2)
    found, grad = counts.new_empty(rows // 2), bias.new_empty(rows, vocab_size)
    ratio = bias.new_empty(threads, vocab_size)
    tensors = (
        (products, products.shape),
        (bias, (vocab_size,), exact),
        (counts, (rows,), exact),
        (found, found.shape, exact),
        *((one, one.shape, exact) for one in (grad, ratio)),
    )
    _run("divergence", products.dtype, tensors, rows // 2, vocab_size, threads)
    return found.sum(), grad


def drop(tensor: Tensor, threshold: int, scale: float, seed: int) -> Tensor:
    """``scale`` times the tensor, with zeros where a random level is below the threshold.

    The level of each element is one of 2¹⁶.
    """
    tensor = tensor.contiguous()
    out = torch.empty_like(tensor)
    count = tensor.numel()
    tensors = ((tensor.view(-1), (count,)), (out.view(-1), (count,)))
    _run("drop", tensor.dtype, tensors, count, seed, threshold, float(scale))
    return out


def _sizes(state: Tensor) -> tuple[int, int, int]:
    """Directions, rows and numbers per row."""
    if state.dim() not in (2, 3):
        raise ValueError(f"a state of shape {tuple(state.shape)}, which has no rows")
    directions = state.size(0) if state.dim() == 3 else 1
    return directions, state.size(-2), state.size(-1)


def _sentences(
    queries: Tensor, keys: Tensor, values: Tensor, query_starts: Tensor, key_starts: Tensor
) -> tuple[tuple[Any, ...], ...]:
    """The tensors that attention reads, with the shapes that fit together, for :func:`_run`."""
    return (
        (queries, queries.shape),
        (keys, (len(keys), queries.size(1))),
        (values, keys.shape),
        _starts(query_starts, queries),
        _starts(key_starts, keys, query_starts),
    )


def _starts(starts: Tensor, rows: Tensor, like: Tensor | None = None) -> tuple[Any, ...]:
    """The first row of each sentence and their number, for :func:`_run`.

    There must be as many as in ``like``.
    """
    rising = starts.dim() == 1 and len(starts) > 1 and bool((starts[1:] >= starts[:-1]).all())
    if not rising or starts[0] or int(starts[-1]) != len(rows):
        raise ValueError(
            f"kernel attend_rows: starts of sentences that are none of {len(rows)} rows"
        )
    return starts, starts.shape if like is None else like.shape, torch.int64


def _attending(queries: Tensor, starts: Tensor, heads: int) -> tuple[int, int, int, int]:
    """Sentences, heads, numbers per head, threads."""
    sentences, dim = len(starts) - 1, queries.size(1)
    if heads < 1 or dim % heads:
        raise ValueError(f"kernel attend_rows: {heads} heads of {dim} numbers")
    threads = max(1, min(torch.get_num_threads(), sentences * heads))
    return sentences, heads, dim // heads, threads


def _at_least(count: int, tensor: Tensor) -> int:
    """The first size that ``tensor`` must have: its own, or ``count`` if that is larger."""
    return max(count, len(tensor))


def _require_whole(kernel: str, *tensors: Tensor) -> None:
    """Refuse tensors of three dimensions whose rows do not follow one another."""
    for tensor in tensors:
        if tensor.stride(1) != tensor.size(2) and tensor.size(1) > 1:
            raise ValueError(f"kernel {kernel}: needs matrices without gaps between their rows")


def _run(
    kernel: str, dtype: torch.dtype, tensors: Sequence[tuple[Any, ...]], *sizes: int | float
) -> int:
    """Run a kernel on tensors, each with its shape and, where it is not ``dtype``, its dtype.

    Returns what the kernel returns, if that is one of ``_RETURNING``.
    """
    places: list[int] = []
    for given in tensors:  # a step of decoding has some thirty of them: every microsecond counts
        tensor, shape = given[0], given[1]
        wanted = dtype if len(given) == 2 else given[2]
        if tensor.shape != shape or tensor.dtype is not wanted:
            raise ValueError(
                f"kernel {kernel}: a tensor of shape {tuple(tensor.shape)} and {tensor.dtype} "
                f"in the place of one of {tuple(shape)} and {wanted}"
            )
        strides = tensor.stride()
        count = len(strides)
        if (strides[-1] != 1 and shape[-1] > 1) or not tensor.is_cpu or count > 3:
            raise ValueError(f"kernel {kernel}: needs tensors on the CPU whose rows are contiguous")
        # Matrix of cpu.cpp: the address, and the strides of the first dimensions
        places.append(tensor.data_ptr())
        places.append(strides[0] if count == 3 else 0)
        places.append(strides[-2] if count > 1 else 0)
    run = _function(kernel, dtype, sizes)
    returned: int = run((ctypes.c_int64 * len(places))(*places), *sizes)
    return returned


def _function(kernel: str, dtype: torch.dtype, sizes: Sequence[int | float]) -> Any:
    """The kernel for this dtype, with its argument types declared once."""
    known = _functions.get((kernel, dtype))
    if known is None:
        known = getattr(_kernels, f"{kernel}_{DTYPES.get(dtype)}", None)
        if known is None:
            raise ValueError(f"kernel {kernel}: takes no tensors of {dtype}")
        numbers = [ctypes.c_double if isinstance(size, float) else ctypes.c_int64 for size in sizes]
        known.argtypes = [ctypes.c_void_p, *numbers]
        known.restype = ctypes.c_int64 if kernel in _RETURNING else None
        _functions[kernel, dtype] = known
    return known


_functions: dict[tuple[str, torch.dtype], Any] = {}
_RETURNING = ("attend_places", "decoder_step")  # a number, for _refuse

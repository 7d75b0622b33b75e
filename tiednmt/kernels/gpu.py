"""Triton kernels for the steps of GRU, LSTM and attention.

They compute what :mod:`tiednmt.modules.gru`, :mod:`tiednmt.modules.lstm` and
:mod:`tiednmt.modules.additive_attention` say in torch.
Between its matrix products a step has many operations on small tensors. On a GPU each would be a
launch, which takes longer than its work. All sums are in float32, or in float64 where the tensors
are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from tiednmt.kernels.tuning import GPU_BLOCK, GPU_LOSS_BLOCK, GPU_TILE


def step(gates: Tensor, candidates: Tensor, from_input: Tensor, state: Tensor, out: Tensor) -> None:
    """:meth:`tiednmt.modules.gru.GRUSteps.step`, of N or B × N rows each."""
    _require_shapes(state.shape, 3, gates, from_input)
    _require_shapes(state.shape, 1, candidates, out)
    for of_one in _by_direction(gates, from_input, state, candidates, out):
        _launch(_step, of_one, state)


def step_back(
    gates: Tensor,
    candidates: Tensor,
    before: Tensor,
    grad: Tensor,
    from_input: Tensor,
    from_state: Tensor,
) -> None:
    """:meth:`tiednmt.modules.gru.GRUSteps.step_back`, of N or B × N rows each."""
    _require_shapes(grad.shape, 3, gates, from_input, from_state)
    _require_shapes(grad.shape, 1, candidates, before)
    for of_one in _by_direction(gates, candidates, before, grad, from_input, from_state):
        _launch(_step_back, of_one, grad)


def lstm_step(gates: Tensor, before: Tensor, cells: Tensor, out: Tensor) -> None:
    """:meth:`tiednmt.modules.lstm.LSTMSteps.step`, of N or B × N rows each."""
    _require_shapes(before.shape, 4, gates)
    _require_shapes(before.shape, 1, cells, out)
    for of_one in _by_direction(gates, before, cells, out):
        _launch(_lstm_step, of_one, before)


def lstm_step_back(
    gates: Tensor,
    before: Tensor,
    cells: Tensor,
    grad: Tensor,
    grad_cell: Tensor,
    grad_gates: Tensor,
) -> None:
    """:meth:`tiednmt.modules.lstm.LSTMSteps.step_back`, of N or B × N rows each."""
    _require_shapes(grad.shape, 4, gates, grad_gates)
    _require_shapes(grad.shape, 1, before, cells, grad_cell)
    for of_one in _by_direction(gates, before, cells, grad, grad_cell, grad_gates):
        _launch(_lstm_step_back, of_one, grad)


def attend(
    keys: Tensor,
    annotations: Tensor,
    score: Tensor,
    query: Tensor,
    padding: Tensor,
    attention: Tensor,
    context: Tensor,
) -> None:
    """:meth:`AdditiveAttentionSteps.step`, of one query per source."""
    _require_attention(keys, annotations, score, query, attention, context)
    _require_whole(keys.shape[:2], padding, of=len(query))
    _attend[(len(query),)](
        *(keys, annotations, padding.view(torch.uint8), score, query, attention, context),
        *map(_stride, (query, attention, context)),
        *(*keys.shape[1:], annotations.size(2)),
        **_tiles(keys),
    )


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
    _require_attention(keys, annotations, score, query, attention, grad_context)
    _require_whole(keys.shape, grad_keys, of=len(query))
    _require_whole((len(keys), keys.size(2)), grad_score, of=len(query))
    _require_shapes(query.shape, 1, grad_query)
    _attend_back[(len(query),)](
        *(keys, annotations, score, grad_keys, grad_score),
        *(query, attention, grad_context, grad_query),
        *map(_stride, (query, attention, grad_context, grad_query)),
        *(*keys.shape[1:], annotations.size(2)),
        **_tiles(keys),
    )


# of the loss' products; numbers given to a kernel are in single precision
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def loss_of_chunk(
    products: Tensor,
    bias: Tensor,
    target: Tensor,
    counts: Tensor,
    smoothing: Sequence[float],
    differentiate: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`tiednmt.modules.cross_entropy.loss_of_chunk`, a program per token."""
    _require_loss(products, bias, target, counts)
    tokens, vocab_size = products.shape
    nll, uniform = torch.empty_like(counts), torch.empty_like(counts)
    _loss_of_token[(tokens,)](
        *(products, bias, target, counts, nll, uniform),
        *(_stride(products), vocab_size, *smoothing),
        DIFFERENTIATE=differentiate,
        BLOCK=GPU_LOSS_BLOCK,
        LOWEST=torch.finfo(torch.float32).min,
        num_warps=8,
    )
    if not differentiate:
        return nll, uniform, bias.new_empty(0)
    return nll, uniform, products.sum(0, dtype=bias.dtype)


def try_out(device: torch.device) -> None:
    """Run a small kernel; raises whatever Triton raises where it cannot."""
    three, one = torch.zeros(2, 3, device=device), torch.zeros(2, 1, device=device)
    _launch(_step_back, (three, one, one, one, three, three), one)


def _require_shapes(shape: torch.Size, times: int, *tensors: Tensor) -> None:
    """Refuse tensors of other rows than ``shape`` has, or of rows not ``times`` as long."""
    for tensor in tensors:
        if tensor.shape != (*shape[:-1], times * shape[-1]):
            raise ValueError(
                f"a tensor of shape {tuple(tensor.shape)} beside one of {tuple(shape)}"
            )


def _require_attention(
    keys: Tensor,
    annotations: Tensor,
    score: Tensor,
    query: Tensor,
    attention: Tensor,
    context: Tensor,
) -> None:
    """Refuse tensors that do not belong together; sources may be more than queries."""
    (sources, length, size), rows = keys.shape, len(query)
    fits = (
        sources >= rows
        and len(annotations) >= rows
        and annotations.size(1) == length
        and score.shape == (size,)
        and query.shape == (rows, size)
        and attention.shape == (rows, length)
        and context.shape == (rows, annotations.size(2))
    )
    if not fits:
        shapes = (tuple(t.shape) for t in (keys, annotations, score, query, attention, context))
        raise ValueError(
            f"shapes of an attention that do not belong together: {', '.join(map(str, shapes))}"
        )
    for tensor in (keys, annotations, score):
        _require_whole(tensor.shape, tensor)


def _require_loss(products: Tensor, bias: Tensor, target: Tensor, counts: Tensor) -> None:
    """Refuse tensors of a loss that do not belong together."""
    dtypes = products.dtype, bias.dtype, target.dtype, counts.dtype
    if products.dtype not in DTYPES or dtypes[1:] != (torch.float32, torch.int64, torch.float32):
        raise ValueError(f"dtypes that do not belong together: {', '.join(map(str, dtypes))}")
    if products.dim() != 2:
        raise ValueError(f"products of {products.dim()} dimensions, not 2")
    tokens, vocab_size = products.shape
    for tensor, size in ((bias, vocab_size), (target, tokens), (counts, tokens)):
        if tensor.shape != (size,):
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} in the place of {size}")
        _require_whole(tensor.shape, tensor)


def _require_whole(shape: Sequence[int], tensor: Tensor, of: int | None = None) -> None:
    """Refuse a tensor of another shape, or with gaps; its first size may be down to ``of``."""
    rows = shape[0] if of is None else min(max(of, len(tensor)), shape[0])
    if tensor.shape != (rows, *shape[1:]) or not tensor.is_contiguous():
        raise ValueError(
            f"a tensor of shape {tuple(tensor.shape)} in the place of one of {tuple(shape)}, or "
            "with gaps between its rows"
        )


def _by_direction(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """The tensors, or those of each direction where they are stacked."""
    return [tensors] if tensors[0].dim() == 2 else list(zip(*tensors, strict=True))


def _launch(kernel: Any, tensors: tuple[Tensor, ...], state: Tensor) -> None:
    """Run the kernel of a step over rows as wide as those of ``state``."""
    rows, hidden = state.shape[-2:]
    grid = rows, triton.cdiv(hidden, GPU_BLOCK)
    kernel[grid](*tensors, *map(_stride, tensors), hidden, **_constants(state))


def _stride(rows: Tensor) -> int:
    if rows.stride(-1) != 1 and rows.size(-1) > 1:
        raise ValueError("kernels need tensors whose rows are contiguous")
    return rows.stride(0)


def _constants(tensor: Tensor) -> dict[str, Any]:
    return {"DTYPE": _sums(tensor), "BLOCK": GPU_BLOCK}


def _sums(tensor: Tensor) -> Any:
    return tl.float64 if tensor.dtype == torch.float64 else tl.float32


def _tiles(keys: Tensor) -> dict[str, Any]:
    length = triton.next_power_of_2(keys.size(1))
    return {"DTYPE": _sums(keys), "LENGTH": length, "BLOCK": max(1, GPU_TILE // length)}


@triton.jit
def _load(places, there, DTYPE: tl.constexpr):
    return tl.load(places, there, 0.0).to(DTYPE)


@triton.jit
def _load_rows(matrix, rows, inside, column, width, DTYPE: tl.constexpr):
    there = inside[:, None] & (column < width)[None, :]
    return _load(matrix + rows[:, None] * width + column[None, :], there, DTYPE)


@triton.jit
def _step(
    gates,
    from_input,
    state,
    candidates,
    out,
    gates_stride,
    input_stride,
    state_stride,
    candidates_stride,
    out_stride,
    hidden,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = column < hidden
    gates += row * gates_stride + column
    from_input += row * input_stride + column
    reset = tl.sigmoid(_load(gates, there, DTYPE) + _load(from_input, there, DTYPE))
    update = tl.sigmoid(
        _load(gates + hidden, there, DTYPE) + _load(from_input + hidden, there, DTYPE)
    )
    recurrent = _load(gates + 2 * hidden, there, DTYPE)
    x = _load(from_input + 2 * hidden, there, DTYPE) + reset * recurrent
    candidate = _tanh(x)
    before = _load(state + row * state_stride + column, there, DTYPE)
    tl.store(gates, reset, there)
    tl.store(gates + hidden, update, there)
    tl.store(candidates + row * candidates_stride + column, candidate, there)
    tl.store(out + row * out_stride + column, candidate + update * (before - candidate), there)


@triton.jit
def _step_back(
    gates,
    candidates,
    before,
    grad,
    from_input,
    from_state,
    gates_stride,
    candidates_stride,
    before_stride,
    grad_stride,
    from_input_stride,
    from_state_stride,
    hidden,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = column < hidden
    gates += row * gates_stride + column
    grad += row * grad_stride + column
    from_input += row * from_input_stride + column
    from_state += row * from_state_stride + column
    reset = _load(gates, there, DTYPE)
    update = _load(gates + hidden, there, DTYPE)
    recurrent = _load(gates + 2 * hidden, there, DTYPE)
    candidate = _load(candidates + row * candidates_stride + column, there, DTYPE)
    state = _load(before + row * before_stride + column, there, DTYPE)
    after = _load(grad, there, DTYPE)
    grad_candidate = after * (1 - update) * (1 - candidate * candidate)
    grad_update = after * (state - candidate) * update * (1 - update)
    grad_reset = grad_candidate * recurrent * reset * (1 - reset)
    tl.store(from_input, grad_reset, there)
    tl.store(from_input + hidden, grad_update, there)
    tl.store(from_input + 2 * hidden, grad_candidate, there)
    tl.store(from_state, grad_reset, there)
    tl.store(from_state + hidden, grad_update, there)
    tl.store(from_state + 2 * hidden, grad_candidate * reset, there)
    tl.store(grad, after * update, there)


@triton.jit
def _loss_of_token(
    products,
    bias,
    target,
    counts,
    nll,
    uniform,
    stride,
    vocab_size,
    of_target,
    of_others,
    DIFFERENTIATE: tl.constexpr,
    BLOCK: tl.constexpr,
    LOWEST: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    products += row * stride
    largest = tl.full([BLOCK], LOWEST, tl.float32)  # of each column of the blocks
    total = tl.zeros([BLOCK], tl.float32)
    scores = tl.zeros([BLOCK], tl.float32)
    for start in range(0, vocab_size, BLOCK):
        column = start + tl.arange(0, BLOCK)
        there = column < vocab_size
        score = _load(products + column, there, tl.float32) + _load(
            bias + column, there, tl.float32
        )
        scores += score
        score = tl.where(there, score, LOWEST)
        above = tl.maximum(largest, score)
        grown = total * tl.exp(largest - above) + tl.exp(score - above)
        total = tl.where(there, grown, total)
        largest = above
    top = tl.max(largest, 0)
    total = tl.sum(total * tl.exp(largest - top), 0)
    gold = tl.load(target + row)
    gold_score = tl.load(products + gold).to(tl.float32) + tl.load(bias + gold).to(tl.float32)
    log_total = tl.log(total)
    tl.store(nll + row, log_total - (gold_score - top))
    tl.store(uniform + row, vocab_size * (log_total + top) - tl.sum(scores, 0))
    if DIFFERENTIATE:
        counted = tl.load(counts + row).to(tl.float32)
        for start in range(0, vocab_size, BLOCK):
            column = start + tl.arange(0, BLOCK)
            there = column < vocab_size
            score = _load(products + column, there, tl.float32) + _load(
                bias + column, there, tl.float32
            )
            grad = tl.exp(score - top) * (counted / total) - of_others * counted
            grad -= tl.where(column == gold, of_target * counted, 0.0)
            tl.store(products + column, grad, there)


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def _lstm_step(
    gates,
    before,
    cells,
    out,
    gates_stride,
    before_stride,
    cells_stride,
    out_stride,
    hidden,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = column < hidden
    gates += row * gates_stride + column
    enter = tl.sigmoid(_load(gates, there, DTYPE))
    forget = tl.sigmoid(_load(gates + hidden, there, DTYPE))
    candidate = _tanh(_load(gates + 2 * hidden, there, DTYPE))
    leave = tl.sigmoid(_load(gates + 3 * hidden, there, DTYPE))
    last = _load(before + row * before_stride + column, there, DTYPE)
    cell = forget * last + enter * candidate
    tl.store(gates, enter, there)
    tl.store(gates + hidden, forget, there)
    tl.store(gates + 2 * hidden, candidate, there)
    tl.store(gates + 3 * hidden, leave, there)
    tl.store(cells + row * cells_stride + column, cell, there)
    tl.store(out + row * out_stride + column, leave * _tanh(cell), there)


@triton.jit
def _lstm_step_back(
    gates,
    before,
    cells,
    grad,
    grad_cell,
    grad_gates,
    gates_stride,
    before_stride,
    cells_stride,
    grad_stride,
    grad_cell_stride,
    grad_gates_stride,
    hidden,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = column < hidden
    gates += row * gates_stride + column
    grad_cell += row * grad_cell_stride + column
    grad_gates += row * grad_gates_stride + column
    enter = _load(gates, there, DTYPE)
    forget = _load(gates + hidden, there, DTYPE)
    candidate = _load(gates + 2 * hidden, there, DTYPE)
    leave = _load(gates + 3 * hidden, there, DTYPE)
    last = _load(before + row * before_stride + column, there, DTYPE)
    squashed = _tanh(_load(cells + row * cells_stride + column, there, DTYPE))
    after = _load(grad + row * grad_stride + column, there, DTYPE)
    of_cell = _load(grad_cell, there, DTYPE) + after * leave * (1 - squashed * squashed)
    tl.store(grad_gates, of_cell * candidate * enter * (1 - enter), there)
    tl.store(grad_gates + hidden, of_cell * last * forget * (1 - forget), there)
    tl.store(grad_gates + 2 * hidden, of_cell * enter * (1 - candidate * candidate), there)
    tl.store(grad_gates + 3 * hidden, after * squashed * leave * (1 - leave), there)
    tl.store(grad_cell, of_cell * forget, there)


@triton.jit(do_not_specialize=["length"])
def _attend(
    keys,
    annotations,
    padding,
    score,
    query,
    attention,
    context,
    query_stride,
    attention_stride,
    context_stride,
    length,
    size,
    width,
    DTYPE: tl.constexpr,
    LENGTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, LENGTH)
    inside = place < length
    position = row * length + place
    scores = tl.zeros([LENGTH], DTYPE)
    for start in range(0, size, BLOCK):
        column = start + tl.arange(0, BLOCK)
        there = column < size
        key = _load_rows(keys, position, inside, column, size, DTYPE)
        asked = _load(query + row * query_stride + column, there, DTYPE)
        weight = _load(score + column, there, DTYPE)
        scores += tl.sum(2 * tl.sigmoid(2 * (key + asked[None, :])) * weight[None, :], 1)
    real = tl.load(padding + position, inside, 1) == 0
    scores = tl.where(inside & real, scores, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, 0))
    weights = weights / tl.sum(weights, 0)
    tl.store(attention + row * attention_stride + place, weights, inside)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        there = column < width
        annotation = _load_rows(annotations, position, inside, column, width, DTYPE)
        mean = tl.sum(annotation * weights[:, None], 0)
        tl.store(context + row * context_stride + column, mean, there)


@triton.jit(do_not_specialize=["length"])
def _attend_back(
    keys,
    annotations,
    score,
    grad_keys,
    grad_score,
    query,
    attention,
    grad_context,
    grad_query,
    query_stride,
    attention_stride,
    grad_context_stride,
    grad_query_stride,
    length,
    size,
    width,
    DTYPE: tl.constexpr,
    LENGTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, LENGTH)
    inside = place < length
    position = row * length + place
    grad_attention = tl.zeros([LENGTH], DTYPE)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        there = column < width
        annotation = _load_rows(annotations, position, inside, column, width, DTYPE)
        grad = _load(grad_context + row * grad_context_stride + column, there, DTYPE)
        grad_attention += tl.sum(annotation * grad[None, :], 1)
    weights = _load(attention + row * attention_stride + place, inside, DTYPE)
    share = weights * grad_attention
    grad_scores = 2 * (share - weights * tl.sum(share, 0))
    for start in range(0, size, BLOCK):
        column = start + tl.arange(0, BLOCK)
        there = column < size
        key = _load_rows(keys, position, inside, column, size, DTYPE)
        asked = _load(query + row * query_stride + column, there, DTYPE)
        energy = tl.sigmoid(2 * (key + asked[None, :]))
        of_score = grad_score + row * size + column
        sums = _load(of_score, there, DTYPE)
        tl.store(of_score, sums + tl.sum(grad_scores[:, None] * energy, 0), there)
        slope = 2 * grad_scores[:, None] * energy * (1 - energy)
        sums_of_keys = _load_rows(grad_keys, position, inside, column, size, DTYPE)
        of_key = position[:, None] * size + column[None, :]
        tl.store(grad_keys + of_key, sums_of_keys + slope, inside[:, None] & there[None, :])
        weight = _load(score + column, there, DTYPE)
        tl.store(grad_query + row * grad_query_stride + column, tl.sum(slope, 0) * weight, there)

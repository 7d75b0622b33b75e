"""Padded batches as the rows of their steps, without the padding, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from tiednmt.kernels.tuning import SENTENCES_OF_A_GROUP

_padding_stays = False


@contextmanager
def padding_stays() -> Iterator[None]:
    """Within the block, steps compute padding too, so every shape follows from that of the batch.

    Then nothing waits for the lengths of sentences, as a CUDA graph requires.
    """
    global _padding_stays
    before, _padding_stays = _padding_stays, True
    try:
        yield
    finally:
        _padding_stays = before


def keeps_padding() -> bool:
    """Whether this runs within :func:`padding_stays`."""
    return _padding_stays


def move_padding_right(tokens: Tensor, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """A batch (B × S, padded on any side) with its padding on the right.

    Returns:
        The tokens, where they are padding, and in which column of the batch each stood, B × S each.
    """
    padding = tokens.eq(pad)
    columns = padding.to(torch.uint8).argsort(dim=1, stable=True)
    return tokens.gather(1, columns), padding.gather(1, columns), columns


def restore_columns(values: Tensor, columns: Tensor) -> Tensor:
    """Values (B × T × S) in the columns that :func:`move_padding_right` took them from (B × S)."""
    return torch.zeros_like(values).scatter(2, columns.unsqueeze(1).expand_as(values), values)


def columns_of_steps(real: Tensor) -> Tensor:
    """The column that each step reads of a batch padded on either side, B × T.

    The first step reads the first token; behind the last column comes the first again.

    Args:
        real: where there is a token, B × T.
    """
    first, length = real.to(torch.uint8).argmax(1, keepdim=True), real.size(1)
    return (first + torch.arange(length, device=real.device)) % length


def pack_steps(tokens: Tensor, pad: int) -> tuple[Tensor, Tensor, list[int]]:
    """The order in which to decode a batch padded on either side, so that no step is padding alone.

    Returns:
        The sentences, longest first; which of ``tokens`` (B × T, flattened) each step reads, one
        step after another; and how many each step reads.
    """
    real, length = tokens.ne(pad), tokens.size(1)
    columns = columns_of_steps(real)
    if _padding_stays:
        return _every_step(columns)
    lengths = real.sum(1).clamp(min=1)
    lengths, order = lengths.sort(descending=True, stable=True)
    group = SENTENCES_OF_A_GROUP
    groups = torch.arange(len(lengths), device=tokens.device) // group * group
    runs = torch.arange(length, device=tokens.device)[:, None] < lengths[groups]  # T × B
    step, sentence = runs.nonzero(as_tuple=True)
    rows = order[sentence]
    positions = rows * length + columns[rows, step]
    sizes = runs.sum(1)
    return order, positions, sizes[sizes > 0].tolist()


def _every_step(columns: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """:func:`pack_steps` of all tokens, in the order of the batch."""
    batch, length = columns.shape
    sentences = torch.arange(batch, device=columns.device)
    positions = (sentences[:, None] * length + columns).t().flatten()
    return sentences, positions, [batch] * length


def unpack_steps(rows: Tensor, positions: Tensor, shape: torch.Size) -> Tensor:
    """The rows (N × n) that :func:`pack_steps` put at ``positions``, as B × T × n; zeros else."""
    padded = rows.new_zeros(shape.numel(), rows.size(1)).index_copy(0, positions, rows)
    return padded.unflatten(0, shape)


def packed(rows: Tensor, sizes: Sequence[int]) -> PackedSequence:
    """The N × n rows of all steps as a ``PackedSequence``."""
    return PackedSequence(rows, torch.tensor(sizes, device="cpu"))


def pad_steps(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """The N × n rows of all steps as B × T × n, zero where a sentence has ended."""
    return pad_packed_sequence(packed(rows, sizes), batch_first=True)[0]


def unpad_steps(padded: Tensor, sizes: Sequence[int]) -> Tensor:
    """Undo :func:`pad_steps`."""
    lengths = _lengths(torch.tensor(sizes, device="cpu"))
    return pack_padded_sequence(padded, lengths, batch_first=True).data


def steps(sizes: Sequence[int]) -> list[tuple[slice, int]]:
    """The rows of each step, as a slice, and their number; step t has ``sizes[t]`` of them."""
    return [
        (slice(end - size, end), size) for end, size in zip(accumulate(sizes), sizes, strict=True)
    ]


def states_before(initial: Tensor, states: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The state (… × N × hidden) that each row of ``states`` came from."""
    last = (initial, *states.split(sizes, -2)[:-1])
    return torch.cat([state[..., :size, :] for state, size in zip(last, sizes, strict=True)], -2)


def mirror(sizes: Tensor) -> Tensor:
    """The place of each row of a packed sequence once every sentence is reversed.

    ``sizes`` are the rows per step.
    """
    starts = sizes.cumsum(0) - sizes
    step = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    sentence = torch.arange(len(step), device=sizes.device) - starts[step]
    return starts[_lengths(sizes)[sentence] - 1 - step] + sentence


def mirror_padded(padding: Tensor) -> Tensor:
    """:func:`mirror` for a batch (B × S, padded on the right) whose padding stays in place."""
    batch, length = padding.shape
    step = torch.arange(length, device=padding.device)[:, None]
    mirrored = torch.where(padding.t(), step, (~padding).sum(1) - 1 - step)
    return (mirrored * batch + torch.arange(batch, device=padding.device)).flatten()


def last_rows(sizes: Tensor) -> Tensor:
    """The row of the last step of each sentence in a packed sequence.

    ``sizes`` are the rows per step.
    """
    starts = sizes.cumsum(0) - sizes
    lengths = _lengths(sizes)
    return starts[lengths - 1] + torch.arange(len(lengths), device=sizes.device)


def _lengths(sizes: Tensor) -> Tensor:
    """The length of each sentence, if step t has ``sizes[t]`` rows."""
    sentences = torch.arange(int(sizes[0]), device=sizes.device)
    return (sizes.unsqueeze(1) > sentences).sum(0)


class Packing:
    """The tokens of a batch (B × T) as rows without its padding (N × …), and back.

    On a GPU, the rows are those of the whole batch, since it would have to wait for their number.

    Args:
        padding: B × T, True where there is no token; on the right, so that a token's column is its
            position.
    """

    def __init__(self, padding: Tensor) -> None:
        self.padding = padding
        is_padded = padding.device.type != "cpu" or bool(padding.any())
        # B × 1 × 1 × T, True where there is a token to attend to; None if there is no padding
        self.mask = (~padding)[:, None, None] if is_padded else None
        self._starts: Tensor | None = None
        self._places: Tensor | None = None  # of the rows in the flattened batch, if not all
        if is_padded and padding.device.type == "cpu":
            self._places = (~padding).flatten().nonzero().squeeze(1)

    @property
    def positions(self) -> Tensor:
        """The column of each row, N."""
        columns = torch.arange(self.padding.size(1), device=self.padding.device)
        return self.rows(columns.expand_as(self.padding))

    @property
    def lengths(self) -> Tensor:
        """The number of tokens of each sentence, B."""
        return (~self.padding).sum(1)

    @property
    def starts(self) -> Tensor:
        """The first row of each sentence, and then the number of rows; only on a CPU."""
        if self._starts is None:
            self._starts = F.pad(self.lengths.cumsum(0), (1, 0))
        return self._starts

    def rows(self, padded: Tensor) -> Tensor:
        """B × T × … as N × …."""
        flat = padded.flatten(0, 1)
        return flat if self._places is None else flat.index_select(0, self._places)

    def padded(self, rows: Tensor) -> Tensor:
        """N × n as B × T × n, zeros where there is padding (on a GPU, anything)."""
        if self._places is None:
            return rows.unflatten(0, self.padding.shape)
        return unpack_steps(rows, self._places, self.padding.shape)

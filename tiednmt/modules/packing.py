"""Padded batches as the rows of their steps, without the padding, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from tiednmt.kernels.tuning import SENTENCES_OF_A_GROUP


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


def pack_steps(tokens: Tensor, pad: int) -> tuple[Tensor, Tensor, list[int]]:
    """The order in which to decode a batch padded on the right, so that no step is padding alone.

    Returns:
        The sentences, longest first; which of ``tokens`` (B × T, flattened) each step reads, one
        step after another; and how many each step reads.
    """
    columns = torch.arange(1, tokens.size(1) + 1, device=tokens.device)
    lengths = (tokens.ne(pad) * columns).amax(1).clamp(min=1)
    lengths, order = lengths.sort(descending=True, stable=True)
    group = SENTENCES_OF_A_GROUP
    groups = torch.arange(len(lengths), device=tokens.device) // group * group
    runs = columns[:, None] <= lengths[groups]  # T × B
    steps, sentences = runs.nonzero(as_tuple=True)
    positions = order[sentences] * tokens.size(1) + steps
    sizes = runs.sum(1)
    return order, positions, sizes[sizes > 0].tolist()


def unpack_steps(rows: Tensor, positions: Tensor, shape: torch.Size) -> Tensor:
    """The rows (N × n) that :func:`pack_steps` put at ``positions``, as B × T × n; zeros else."""
    padded = rows.new_zeros(shape.numel(), rows.size(1)).index_copy(0, positions, rows)
    return padded.unflatten(0, shape)


class Packing:
    """The tokens of a batch (B × T) as rows without its padding (N × …), and back.

    A GPU would have to wait for their number, so there the rows are those of the whole batch.

    Args:
        padding: B × T, True where there is no token; on the right, so that a token's column is its
            position.
    """

    def __init__(self, padding: Tensor) -> None:
        self.padding = padding
        is_padded = padding.device.type != "cpu" or bool(padding.any())
        self.tokens = (
            (~padding)[:, None, None] if is_padded else None
        )  # B × 1 × 1 × T, to attend to
        self._places: Tensor | None = None  # of the rows in the flattened batch, if not all
        if is_padded and padding.device.type == "cpu":
            self._places = (~padding).flatten().nonzero().squeeze(1)

    @property
    def positions(self) -> Tensor:
        """The column of each row, N."""
        columns = torch.arange(self.padding.size(1), device=self.padding.device)
        return self.rows(columns.expand_as(self.padding))

    def rows(self, padded: Tensor) -> Tensor:
        """B × T × … as N × …."""
        flat = padded.flatten(0, 1)
        return flat if self._places is None else flat.index_select(0, self._places)

    def padded(self, rows: Tensor) -> Tensor:
        """N × n as B × T × n, zeros where there is padding (on a GPU, anything)."""
        if self._places is None:
            return rows.unflatten(0, self.padding.shape)
        return unpack_steps(rows, self._places, self.padding.shape)

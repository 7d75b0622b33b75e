"""Matrices on disk in 8 bits: a table of whole numbers, NAME, and a scale per row, NAME.scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b

import torch
from torch import Tensor

from tiednmt.modules.frozen_linear import round_rows

SCALE = ".scale"  # after the name of a table


def rounded(state: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every matrix as whole numbers and a scale per row.

    A row that was in 8 bits already keeps its bytes, wherever it stands now: to round it again
    could give another last bit of its scale, by which every number of the row would change.

    Args:
        state: names and numbers.
        before: the tensors that the model was read from, where it was in 8 bits; or none.
    """
    known = dict(_known_rows(before))
    tensors = {}
    for name, tensor in state.items():
        if not _is_matrix(tensor):
            tensors[name] = tensor
            continue
        rows = tensor.flatten(0, -2)
        whole, scale = round_rows(rows)
        for number, key in enumerate(_keys(rows)) if known else ():
            if key in known:
                whole[number], scale[number] = known[key]
        tensors[name] = whole.view(tensor.shape)
        tensors[name + SCALE] = scale.view(tensor.shape[:-1])
    return tensors


def unrounded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The numbers that were rounded."""
    state = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in tensors:
            continue
        scale = tensors.get(name + SCALE)
        state[name] = tensor if scale is None else tensor * scale.unsqueeze(-1)
    return state


def _is_matrix(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dim() > 1


def _known_rows(tensors: Mapping[str, Tensor]) -> Iterator[tuple[bytes, tuple[Tensor, Tensor]]]:
    """Whole numbers and scale of each row, by the numbers that it stands for."""
    for name, numbers in unrounded(tensors).items():
        if name + SCALE in tensors:
            whole = tensors[name].flatten(0, -2)
            scale = tensors[name + SCALE].flatten()
            yield from zip(
                _keys(numbers.flatten(0, -2)), zip(whole, scale, strict=True), strict=True
            )


def _keys(rows: Tensor) -> Iterator[bytes]:
    """What tells rows apart, in 16 bytes each."""
    for row in rows.to(torch.float32).contiguous().numpy():
        yield blake2b(row.tobytes(), digest_size=16).digest()

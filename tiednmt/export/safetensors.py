"""Files of tensors in the format of safetensors: names, shapes and numbers, nothing that could run.

The format is that of https://github.com/huggingface/safetensors: the length of the header (8 bytes,
little-endian), the header (JSON: name → dtype, shape, offsets; ``__metadata__``), the numbers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tiednmt.errors import UserError
from tiednmt.files import named_when_whole

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}
_METADATA = "__metadata__"
_LONGEST_HEADER = 100_000_000  # bytes, the format's own limit
_ALIGNMENT = 8


class _Entry(NamedTuple):
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int  # in the file
    size: int  # bytes


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write ``tensors`` to a file that gets its name once it is whole.

    Raises:
        UserError: it cannot be written.
    """
    _require_little_endian()
    # the widest first, so that each begins where a processor likes to read it
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with named_when_whole(path) as partial, open(partial, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _, tensor in ordered:
            flat = tensor.detach().cpu().contiguous().flatten()
            file.write(flat.view(torch.uint8).numpy().data)


class TensorFile:
    """A file of safetensors, of which tensors are read one by one.

    Attributes:
        metadata: what it says of itself.
        shapes: by the name of each tensor.

    Raises:
        UserError: no such file, or not one of safetensors.
    """

    def __init__(self, path: Path) -> None:
        _require_little_endian()
        self.path = path
        header, start = _read_header(path)
        self.metadata: dict[str, str] = header.pop(_METADATA, {})
        size = path.stat().st_size
        self._entries = {
            name: _entry(path, name, value, start, size) for name, value in header.items()
        }
        if not isinstance(self.metadata, dict) or not all(
            isinstance(value, str) for value in self.metadata.values()
        ):
            raise _damaged(path, "its metadata are none")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor by its name."""
        return {name: entry.shape for name, entry in self._entries.items()}

    def read(self, name: str) -> Tensor:
        """The tensor of that name."""
        entry = self._entries[name]
        if not entry.size:
            return torch.empty(entry.shape, dtype=entry.dtype)
        buffer = bytearray(entry.size)
        with open(self.path, "rb") as file:
            file.seek(entry.start)
            if file.readinto(buffer) != entry.size:
                raise _damaged(self.path, f"{name} is cut short")
        return torch.frombuffer(buffer, dtype=entry.dtype).view(entry.shape)

    def read_all(self) -> dict[str, Tensor]:
        """All tensors by their names."""
        return {name: self.read(name) for name in self._entries}


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header and where the numbers begin."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LONGEST_HEADER, path.stat().st_size - 8):
            raise _damaged(path, "its header has no possible length")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            raise _damaged(path, "its header is no JSON") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no JSON object")
    return header, 8 + length


def _entry(path: Path, name: str, value: Any, start: int, file_size: int) -> _Entry:
    code = value.get("dtype") if isinstance(value, dict) else None
    if isinstance(code, str) and code not in DTYPES:
        raise UserError(
            f"{path}: {name[:80]} has the dtype {code[:20]}, which tiednmt does not read (only "
            f"{', '.join(DTYPES)})"
        )
    try:
        dtype, shape = DTYPES[value["dtype"]], tuple(value["shape"])
        begin, end = value["data_offsets"]
        width = torch.empty((), dtype=dtype).element_size()
        fits = (
            all(isinstance(number, int) and number >= 0 for number in (*shape, begin, end))
            and end - begin == prod(shape) * width
            and start + end <= file_size
        )
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise _damaged(path, f"what it says of {name[:80]!r} cannot be")
    return _Entry(dtype, shape, start + begin, end - begin)


def _require_little_endian() -> None:
    if sys.byteorder != "little":
        raise UserError("safetensors are read and written on little-endian machines alone")


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path}: not a complete safetensors file ({why}); copy it again")

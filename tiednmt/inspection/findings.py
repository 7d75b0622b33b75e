"""Compare the matrices of a file: one, equal or different, and as claimed or not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tiednmt.errors import UserError
from tiednmt.export.int8 import SCALE
from tiednmt.inspection.files import InspectedFile, read_model
from tiednmt.inspection.toolkits import Claim, Layout, layout_of
from tiednmt.models.parameters import ADAPTIVE_SOFTMAX, NOT_PARAMETERS
from tiednmt.tying import INPUT, OUTPUT, SOURCE_INPUT, TARGET_INPUT

ONE, EQUAL, DIFFERENT = "one matrix", "equal, stored twice", "different"
_LARGE = 4096  # bytes: smaller tensors are often alike, zeros say


@dataclass(frozen=True)
class Matrix:
    """The matrix of one use.

    Attributes:
        use: source input, target input or output embedding.
        name: of its tensor in the file.
        shape: rows × dim.
        dtype: of the tensor.
        is_stored: whether the file stores it under its own name, not that of another use.
    """

    use: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    is_stored: bool


@dataclass(frozen=True)
class Pair:
    """Two uses, compared.

    Attributes:
        uses: their names.
        found: ``ONE`` matrix, ``EQUAL`` numbers stored twice, or ``DIFFERENT``.
        claimed: whether the configuration says that they are tied; None if it says nothing.
    """

    uses: tuple[str, str]
    found: str
    claimed: bool | None

    @property
    def agrees(self) -> bool:
        """Whether it is as claimed."""
        return self.claimed is None or self.claimed == (self.found != DIFFERENT)


@dataclass(frozen=True)
class Findings:
    """What :func:`inspect` found of a file.

    Attributes:
        path: the file.
        toolkit: the one that wrote it, known by its names.
        parameters: how many numbers it holds; those stored twice count once.
        matrices: the matrix of each use.
        pairs: source and target input, and target input and output, compared.
        claim: what the configuration says.
        twice: names of tensors with the same numbers that are stored separately.
        wasted: bytes of these beyond the first of each.
    """

    path: Path
    toolkit: str
    parameters: int
    matrices: tuple[Matrix, ...]
    pairs: tuple[Pair, ...]
    claim: Claim
    twice: tuple[tuple[str, ...], ...]
    wasted: int

    @property
    def agrees(self) -> bool:
        """Whether all is as claimed."""
        return all(pair.agrees for pair in self.pairs)

    def __str__(self) -> str:
        rows = [
            (
                matrix.use,
                " x ".join(f"{n:,}" for n in matrix.shape),
                matrix.dtype,
                matrix.name if matrix.is_stored else f"{matrix.name}, not stored by itself",
            )
            for matrix in self.matrices
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{self.path}: {self.toolkit}, {self.parameters:,} parameters",
            *(
                "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                for row in rows
            ),
        ]
        for pair in self.pairs:
            claimed = {True: "claimed tied", False: "claimed not tied", None: "nothing claimed"}
            verdict = "" if pair.agrees else ": DISAGREES"
            lines.append(
                f"  {' = '.join(pair.uses)}? {pair.found} ({claimed[pair.claimed]}){verdict}"
            )
        lines += [f"  stored more than once: {', '.join(names)}" for names in self.twice]
        if self.wasted:
            lines.append(f"  {self.wasted:,} bytes could be saved")
        return "\n".join(line.rstrip() for line in lines)


def inspect(path: Path) -> Findings:
    """Read a file, or the weights in a folder, and find which of its matrices are tied.

    Raises:
        UserError: it cannot be read safely, or holds no embeddings of a known toolkit.
    """
    stored = read_model(path)
    layout = layout_of(stored)
    if layout is None:
        raise UserError(
            f"{stored.path}: holds no embeddings under the names of fairseq, Hugging Face, Marian, "
            "JoeyNMT, OpenNMT-py or eole"
        )
    named = _named(stored, layout)
    claim = layout.claim(stored.config)
    groups, wasted = _repeated(stored)
    return Findings(
        path=stored.path,
        toolkit=layout.toolkit,
        parameters=_parameters(stored, wasted),
        matrices=tuple(
            Matrix(use, name, tuple(tensor.shape), str(tensor.dtype)[6:], name not in before)
            for use, (name, tensor), before in _in_order(named)
        ),
        pairs=tuple(_pairs(stored, named, claim)),
        claim=claim,
        twice=groups,
        wasted=sum(wasted.values()),
    )


_Named = Mapping[str, tuple[str, Tensor]]  # use → name, and rows × dim


def _named(stored: InspectedFile, layout: Layout) -> _Named:
    """The matrix of each use; one that is not stored is the one before it."""
    source, target, output = (
        _first(stored, names) for names in (layout.source, layout.target, layout.output)
    )
    target = target or source
    assert target is not None
    output = output or target
    if layout.source and (source or any(n.startswith("encoder") for n in stored.tensors)):
        uses = {SOURCE_INPUT: source or target, TARGET_INPUT: target, OUTPUT: output}
    else:
        uses = {INPUT: target, OUTPUT: output}
    for name, tensor in uses.values():
        if tensor.dim() != 2:
            shape = tuple(tensor.shape)
            raise UserError(f"{stored.path}: {name} has the shape {shape}, so it is no matrix")
    if any(name.startswith(ADAPTIVE_SOFTMAX) for name in stored.tensors):
        del uses[OUTPUT]  # there is no such matrix
    return {
        use: (name, tensor.t() if name in layout.transposed else tensor)
        for use, (name, tensor) in uses.items()
    }


def _first(stored: InspectedFile, names: tuple[str, ...]) -> tuple[str, Tensor] | None:
    """The first of these that is stored, under its name or another."""
    for name in names:
        kept = stored.aliases.get(name, name)
        if kept in stored.tensors:
            return kept, stored.tensors[kept]
    return None


def _in_order(named: _Named) -> Iterator[tuple[str, tuple[str, Tensor], set[str]]]:
    before: set[str] = set()
    for use, (name, tensor) in named.items():
        yield use, (name, tensor), set(before)
        before.add(name)


def _pairs(stored: InspectedFile, named: _Named, claim: Claim) -> Iterator[Pair]:
    uses = list(named)
    claims = [claim.inputs, claim.output] if SOURCE_INPUT in uses else [claim.output]
    for one, other, claimed in zip(uses, uses[1:], claims, strict=False):
        yield Pair((one, other), _relation(stored, named[one], named[other]), claimed)


def _relation(stored: InspectedFile, one: tuple[str, Tensor], other: tuple[str, Tensor]) -> str:
    (name, first), (another, second) = one, other
    if name == another or _place(first) == _place(second):
        return ONE
    if first.shape != second.shape:
        return DIFFERENT
    numbers = (_numbers(stored, *each) for each in (one, other))
    return EQUAL if torch.equal(*numbers) else DIFFERENT


def _numbers(stored: InspectedFile, name: str, tensor: Tensor) -> Tensor:
    """The numbers that a tensor stands for: those of an int8 table times the scale of each row.

    Raises:
        UserError: it has not one scale per row.
    """
    scale = stored.tensors.get(name + SCALE)
    if scale is None or tensor.dtype != torch.int8:
        return tensor
    if scale.shape != tensor.shape[:-1]:
        shape, rows = tuple(scale.shape), tuple(tensor.shape[:-1])
        raise UserError(f"{stored.path}: {name}{SCALE} has the shape {shape}, not {rows}")
    return tensor * scale.unsqueeze(-1)


def _place(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    """Where a tensor is in memory; torch stores what shares memory once."""
    return tensor.data_ptr(), tuple(tensor.shape)


def _repeated(stored: InspectedFile) -> tuple[tuple[tuple[str, ...], ...], dict[str, int]]:
    """Names of large tensors with the same numbers; bytes of those beyond the first, by name."""
    places: dict[tuple[int, tuple[int, ...]], str] = {}
    contents: dict[object, list[str]] = {}
    for name, tensor in stored.tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size < _LARGE or places.setdefault(_place(tensor), name) != name:
            continue
        contents.setdefault(_digest(_numbers(stored, name, tensor)), []).append(name)
    groups = [tuple(names) for names in contents.values() if len(names) > 1]
    sizes = {
        name: stored.tensors[name].numel() * stored.tensors[name].element_size()
        for names in groups
        for name in names[1:]
    }
    return tuple(groups), sizes


def _digest(tensor: Tensor) -> tuple[str, tuple[int, ...], bytes]:
    """The numbers of a matrix and of its transpose have one digest."""
    ways = (tensor, tensor.t()) if tensor.dim() == 2 else (tensor,)
    return min(
        (str(tensor.dtype), tuple(way.shape), _sha256(way))
        for way in ways
        if way.dim() != 2 or way.size(0) <= way.size(1)
    )


def _sha256(tensor: Tensor) -> bytes:
    numbers = tensor.contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.sha256(numbers.data).digest()


def _parameters(stored: InspectedFile, wasted: Mapping[str, int]) -> int:
    distinct = {
        _place(tensor): tensor.numel()
        for name, tensor in stored.tensors.items()
        if (tensor.is_floating_point() or tensor.dtype == torch.int8)
        and name not in wasted
        and not name.endswith(NOT_PARAMETERS)
        and not _is_scale(name, stored)
    }
    return sum(distinct.values())


def _is_scale(name: str, stored: InspectedFile) -> bool:
    """Whether a tensor only holds the scales of another, integer tensor."""
    scaled = stored.tensors.get(name.removesuffix(SCALE))
    return name.endswith(SCALE) and scaled is not None and scaled.dtype == torch.int8

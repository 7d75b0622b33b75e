"""Held rows: those that ``--train-rows`` leaves out, which training keeps unchanged, bit for bit.

Masking their gradients is not enough: weight decay moves rows without a gradient, and so do the
moments of an optimizer that continues. So the rows are put back after each update, whatever changed
them. Their gradients are masked as well, so that gradient clipping and the moments see only the
rows that are trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from tiednmt.errors import UserError
from tiednmt.models.parameters import OURS, SOURCE_ROWS, TARGET_ROWS
from tiednmt.modules.lookup import PrivateRows
from tiednmt.text.lines import read_units
from tiednmt.tying import Vocabulary


@dataclass(frozen=True)
class HeldRows:
    """The parameters, and rows of parameters, that training keeps unchanged.

    Attributes:
        whole: names of the parameters that are not trained at all.
        rows: the held rows of each parameter that is trained in part, by its name.
    """

    whole: Sequence[str]
    rows: Mapping[str, Tensor]

    @contextmanager
    def kept(self, tensors: Mapping[str, Tensor], whole: bool = False) -> Iterator[None]:
        """Put the held rows back at the end of the block.

        Args:
            tensors: the parameters, or an average of each, by name of the parameter.
            whole: put back the parameters of ``self.whole`` too. Only an average needs it, since
                the mean of equal numbers is rounded.
        """
        rows = {name: tensors[name] for name in self.rows if name in tensors}
        before = {n: t.detach().index_select(0, self.rows[n].to(t.device)) for n, t in rows.items()}
        names = [name for name in self.whole if whole and name in tensors]
        copies = {name: tensors[name].detach().clone() for name in names}
        yield
        with torch.no_grad():
            for name, tensor in rows.items():
                tensor.index_copy_(0, self.rows[name].to(tensor.device), before[name])
            for name, copy in copies.items():
                tensors[name].copy_(copy)


def train_rows_alone(
    model: nn.Module, option: str, source: Vocabulary | None, target: Vocabulary
) -> HeldRows:
    """Freeze everything but these rows of the embedding matrices, and their output biases.

    Args:
        model: the model to train.
        option: ``FROM:TO`` (from row FROM to the one before TO; either may be left out), or a file
            of units, one per line.
        source: the source dictionary; None in a language model.
        target: the target dictionary.

    Raises:
        UserError: there are no such rows, or rows of two different dictionaries are given by
            number.
    """
    of_source, of_target = _trained_rows(option, source, target)
    names = dict.fromkeys(SOURCE_ROWS, of_source) | dict.fromkeys(TARGET_ROWS, of_target)
    named = dict(model.named_parameters())
    held: dict[str, Tensor] = {}
    wanted = set(of_source)
    for name, parameter in named.items():
        trained = names.get(name)
        if name == OURS.private:
            private = next(m for m in model.modules() if isinstance(m, PrivateRows))
            units = private.units_version.tolist()
            trained = [place for place, unit in enumerate(units) if unit in wanted]
        if not trained or not parameter.requires_grad:
            parameter.requires_grad_(False)
            continue
        rows = torch.tensor(sorted(set(range(len(parameter))) - set(trained)), dtype=torch.long)
        held[name] = rows
        parameter.register_hook(_mask(rows))
    return HeldRows([n for n, p in named.items() if not p.requires_grad], held)


def _trained_rows(
    option: str, source: Vocabulary | None, target: Vocabulary
) -> tuple[list[int], list[int]]:
    """The rows to train of matrices over the source and over the target dictionary."""
    of_source = of_target = _rows(option, target)
    if source is not None and source.symbols != target.symbols:
        of_source = _rows(option, source)
        if is_row_range(option):
            raise UserError(
                f"--train-rows {option}: source and target have different dictionaries, so that "
                "a number is not the same row in both; give a file of units"
            )
    return of_source, of_target


def fault_of_file(option: str, source: Vocabulary | None, target: Vocabulary) -> str | None:
    """What is wrong with the file of units that ``option`` names; None if nothing, or no file.

    The arguments are those of :func:`train_rows_alone`.
    """
    if is_row_range(option):
        return None
    if not Path(option).is_file():
        return f"--train-rows {option}: no such file, and not FROM:TO"
    known = {symbol for of in (source, target) if of is not None for symbol in of.symbols}
    units = read_units(Path(option))
    for number, unit in enumerate(units, start=1):
        if unit not in known:
            return f"--train-rows {option}, line {number}: {unit!r} is in no dictionary"
    return None if units else f"--train-rows {option}: holds no units"


def _mask(rows: Tensor) -> Callable[[Tensor], Tensor]:
    on = cache(rows.to)  # once per device: the capture of a CUDA graph allows no copy to it
    return lambda grad: grad.index_fill(0, on(grad.device), 0)


def is_row_range(option: str) -> bool:
    """Whether ``option`` has the form ``FROM:TO``."""
    first, colon, last = option.partition(":")
    return bool(colon) and all(not part or part.isdecimal() for part in (first, last))


def _rows(option: str, vocabulary: Vocabulary) -> list[int]:
    size = len(vocabulary.symbols)
    if is_row_range(option):
        first, _, last = option.partition(":")
        rows = range(int(first or 0), int(last or size))
        if not 0 <= rows.start < rows.stop <= size:
            raise UserError(
                f"--train-rows {option}: not FROM:TO with 0 <= FROM < TO <= {size}, the rows there "
                "are"
            )
        return list(rows)
    entries = {symbol: row for row, symbol in enumerate(vocabulary.symbols)}
    return [entries[unit] for unit in read_units(Path(option)) if unit in entries]

"""An optimizer's state (its moments) by the name of the parameter.

torch's optimizers number the parameters in the order of the model. fairseq's wrapper for half
precision keeps them all in one flat tensor. Both forms are read here, and written as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tiednmt.vocabulary.rows import Rows, with_starts

# Entries that follow the gradient: zero in a row that has had none. All other entries with a value
# per row set the size of its steps. A new row takes these from the rows that it is made of: if they
# started from zero, its first steps would be far longer than theirs.
_DIRECTIONS = ("exp_avg", "momentum_buffer")
_BY_COLUMN = ("exp_avg_sq_col",)  # Adafactor's, over all rows together
_WEIGHTS = frozenset({"other"})  # second weights, those of NT-ASGD (tied_averaged_sgd)

State = dict[str, Any]


@dataclass(frozen=True)
class Moments:
    """The state of an optimizer.

    Attributes:
        states: by name of the parameter, in the optimizer's order; empty if it has no state yet.
        shapes: the shapes of the parameters, by name.
        optimizer: the rest of the optimizer's state dict.
        flat: whether all parameters are one flat tensor there.
    """

    states: Mapping[str, State]
    shapes: Mapping[str, torch.Size]
    optimizer: Mapping[str, Any]
    flat: bool = False

    @classmethod
    def read(cls, optimizer: Mapping[str, Any], shapes: Mapping[str, torch.Size]) -> Moments | None:
        """An optimizer's state dict by parameter name; None if it belongs to other parameters.

        Args:
            optimizer: ``last_optimizer_state`` of a checkpoint.
            shapes: the shapes of the trained parameters, in the order of the model.
        """
        try:
            numbers = [n for group in optimizer["param_groups"] for n in group["params"]]
            states = [optimizer["state"].get(number, {}) for number in numbers]
        except (KeyError, TypeError, AttributeError):
            return None
        if len(optimizer["param_groups"]) != 1:
            return None
        sizes = [shape.numel() for shape in shapes.values()]
        if len(numbers) == 1 and len(sizes) > 1:
            parts = _parted(states[0], sizes, list(shapes.values()))
            if parts is None:
                return None
            return cls(dict(zip(shapes, parts, strict=True)), shapes, optimizer, flat=True)
        named = dict(zip(shapes, states, strict=False))
        if len(numbers) != len(shapes) or not all(
            _fits(state, shapes[name]) for name, state in named.items()
        ):
            return None
        return cls(named, shapes, optimizer)

    def write(self, names: Sequence[str]) -> dict[str, Any] | None:
        """The state dict for an optimizer of the same kind; None if a parameter has no state.

        Args:
            names: the trained parameters, in the order of the model.
        """
        if set(names) != set(self.states):
            return None
        states = [self.states[name] for name in names]
        groups = self.optimizer["param_groups"]
        if self.flat:
            return {**self.optimizer, "state": {groups[0]["params"][0]: _joined(states)}}
        numbered = {number: state for number, state in enumerate(states) if state}
        return {
            **self.optimizer,
            "state": numbered,
            "param_groups": [{**groups[0], "params": list(range(len(states)))}, *groups[1:]],
        }

    def with_rows(self, rows: Mapping[str, Rows]) -> Moments:
        """The state after the rows of some parameters have changed; ``rows`` is by name."""
        changed = {
            name: _with_rows(state, rows[name], self.shapes[name]) if name in rows else state
            for name, state in self.states.items()
        }
        shapes = {
            name: torch.Size((len(rows[name].parts), *shape[1:])) if name in rows else shape
            for name, shape in self.shapes.items()
        }
        return replace(self, states=changed, shapes=shapes)

    def with_starts(self, starts: Mapping[str, Mapping[int, Tensor]]) -> Moments:
        """The state after these rows of the weights were set, by name of the parameter."""
        changed = {
            name: {
                key: with_starts(value, starts.get(name, {})) if key in _WEIGHTS else value
                for key, value in state.items()
            }
            for name, state in self.states.items()
        }
        return replace(self, states=changed)

    def without(self, *names: str) -> Moments:
        """The state without these parameters."""
        return self.picked(name for name in self.states if name not in names)

    def picked(self, names: Iterable[str], copies: Mapping[str, str] | None = None) -> Moments:
        """The state of ``names``, in this order; ``copies`` maps a new name to its original."""
        origins = {name: (copies or {}).get(name, name) for name in names}
        return replace(
            self,
            states={name: _copied(self.states[of]) for name, of in origins.items()},
            shapes={name: self.shapes[of] for name, of in origins.items()},
        )

    def summed(self, name: str, others: Sequence[str]) -> Moments | None:
        """The state with those of ``others`` added to that of ``name``.

        The gradient of a tied matrix is the sum of the gradients of its uses, and so is its running
        mean. The running mean of its square is the sum if the uses are uncorrelated.

        Returns:
            None if one of them has no state, or one with weights, whose sum means nothing.
        """
        states = dict(self.states)
        if any(each not in states or _WEIGHTS & states[each].keys() for each in (name, *others)):
            return None
        total = dict(states[name])
        for key, value in total.items():
            if isinstance(value, Tensor) and value.dim():
                total[key] = sum((states[other][key] for other in others), value)
        states[name] = total
        return replace(self, states=states).without(*others)


def _fits(state: State, shape: torch.Size) -> bool:
    return all(
        not isinstance(value, Tensor)
        or not value.dim()
        or value.shape in (shape, shape[:-1], shape[1:])
        for value in state.values()
    )


def _with_rows(state: State, rows: Rows, shape: torch.Size) -> State:
    return {
        key: _rows_of(key, value, rows)
        if isinstance(value, Tensor) and value.dim() and key not in _BY_COLUMN and len(shape)
        else value
        for key, value in state.items()
    }


def _rows_of(key: str, value: Tensor, rows: Rows) -> Tensor:
    return rows.without_new(value) if key in _DIRECTIONS else rows.of(value)


def _copied(state: State) -> State:
    return {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}


def _parted(state: State, sizes: Sequence[int], shapes: Sequence[torch.Size]) -> list[State] | None:
    """The state of a flat tensor, split into its parameters."""
    parts: list[State] = [{} for _ in sizes]
    for key, value in state.items():
        whole = isinstance(value, Tensor) and value.dim()
        if whole and value.shape != (sum(sizes),):
            return None
        pieces = value.split(list(sizes)) if whole else [value] * len(sizes)
        for part, piece, shape in zip(parts, pieces, shapes, strict=True):
            part[key] = piece.view(shape) if whole else piece
    return parts


def _joined(states: Sequence[State]) -> State:
    return {
        key: torch.cat([state[key].flatten() for state in states])
        if isinstance(value, Tensor) and value.dim()
        else value
        for key, value in states[0].items()
    }

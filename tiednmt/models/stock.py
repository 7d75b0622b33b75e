"""State dicts of fairseq's own models as those of ours, and back."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tiednmt.errors import CheckpointError
from tiednmt.models.parameters import OURS, ParameterNames, matrices_of, names_of, tie_map_of
from tiednmt.modules.lookup import CONSTANT, FACTOR
from tiednmt.tying import OUTPUT, SOURCE_INPUT, TARGET_INPUT

_SCALES = {SOURCE_INPUT: "encoder.input_scale.", TARGET_INPUT: "decoder.input_scale."}
_IGNORED = ("version", "_float_tensor", "embed_positions.weights")  # buffers


class Rule:
    """A tensor of ours, and the tensors of fairseq's that hold its rows, one after the other.

    Args:
        ours: the name of ours; each ``*`` stands for a part between dots, the same in all names.
        stock: the names of fairseq's.
        left_out: how many of fairseq's rows, from the first on, are never used.
    """

    def __init__(self, ours: str, *stock: str, left_out: int = 0) -> None:
        self.ours, self.stock, self.left_out = ours, stock, left_out

    def to_ours(self, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor, list[str]]]:
        """Each tensor of ours that fairseq's ``weights`` contain, and the names it is made from."""
        for parts in _matches(self.stock[0], weights):
            names = [_filled(name, parts) for name in self.stock]
            if missing := [name for name in names if name not in weights]:
                raise CheckpointError(f"the checkpoint lacks {', '.join(missing)}")
            joined = torch.cat([weights[name] for name in names])
            yield _filled(self.ours, parts), joined[self.left_out :], names

    def to_stock(self, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Each tensor of fairseq's that our ``weights`` contain."""
        for parts in _matches(self.ours, weights):
            joined = weights[_filled(self.ours, parts)]
            lead = joined.new_zeros(self.left_out, *joined.shape[1:])
            pieces = torch.cat((lead, joined)).chunk(len(self.stock))
            for name, piece in zip(self.stock, pieces, strict=True):
                yield _filled(name, parts), piece.clone()


def _factor(weights: Mapping[str, Tensor], use: str) -> float:
    """By which a model of ours multiplies what it looks up, learned or not."""
    stored = (weights.get(_SCALES[use] + name) for name in (CONSTANT, FACTOR))
    return next((float(factor) for factor in stored if factor is not None), 1.0)


def _matches(pattern: str, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, ...]]:
    """The parts that the stars stand for, in each name that matches the pattern."""
    regex = re.compile(re.escape(pattern).replace(r"\*", r"([^.]+)"))
    return (match.groups() for name in weights if (match := regex.fullmatch(name)))


def _filled(pattern: str, parts: tuple[str, ...]) -> str:
    for part in parts:
        pattern = pattern.replace("*", part, 1)
    return pattern


@dataclass(frozen=True)
class StockModel:
    """A model of fairseq's own that computes the same as an architecture of this package.

    Attributes:
        architecture: its registered name.
        names: where it keeps its matrices.
        rules: where it keeps its other parameters.
        constants: what else its state dicts hold.
        biased: whether it has an output bias if the output embedding is not tied; otherwise our
            output bias must be zero.
        scales_lookups: whether it can multiply looked-up rows by √dim.
        readers: for each use, the weights that alone read what is looked up, in their first
            columns: a factor of the lookups moves there if the model itself has none.
        names_tied_output: whether a tied output embedding is also stored under a name of its own.
    """

    architecture: str
    names: ParameterNames
    rules: tuple[Rule, ...]
    constants: Mapping[str, Tensor]
    biased: bool = False
    scales_lookups: bool = False
    readers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    names_tied_output: bool = True

    def is_held_by(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether a state dict is that of fairseq's model, not of ours."""
        return self.names.source in weights and OURS.source not in weights

    def to_ours(self, weights: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
        """A state dict of fairseq's model as one of ours.

        Args:
            weights: the state dict of fairseq's model, tied in any way.
            scale: the factor by which it multiplies looked-up rows.

        Raises:
            CheckpointError: it has parts that our architecture lacks, or lacks parts of it.
        """
        names = names_of(weights) or self.names  # an old version of fairseq names V differently
        matrices = matrices_of(weights, names)
        if OUTPUT not in matrices:
            raise CheckpointError(
                "the checkpoint has an adaptive softmax, which this architecture does not have"
            )
        bias = weights.get(self.names.bias)
        ours = {
            OURS.source: matrices[SOURCE_INPUT],
            OURS.target: matrices[TARGET_INPUT],
            OURS.output: matrices[OUTPUT],
            OURS.bias: matrices[OUTPUT].new_zeros(len(matrices[OUTPUT])) if bias is None else bias,
        }
        used = {names.source, names.target, names.output, self.names.bias}
        for rule in self.rules:
            for name, tensor, of in rule.to_ours(weights):
                ours[name] = tensor
                used.update(of)
        if left := [n for n in weights if n not in used and not n.endswith(_IGNORED)]:
            raise CheckpointError(
                f"the checkpoint has parts that this architecture lacks: {', '.join(left[:3])}"
            )
        constant = torch.tensor(scale, dtype=torch.float64)
        scales = {prefix + CONSTANT: constant for prefix in _SCALES.values() if scale != 1}
        return {**ours, **scales}

    def to_stock(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of ours as one of fairseq's model.

        Raises:
            CheckpointError: it has something that fairseq's model lacks.
        """
        if OURS.projection in weights:
            raise CheckpointError(f"--projection: fairseq's {self.architecture} has no P")
        weights = self._without_factors(weights)
        tie = tie_map_of(weights, OURS)
        if tie.between:
            raise CheckpointError(
                f"fairseq's {self.architecture} has nothing between a matrix and its uses, as the "
                f"checkpoint has ({tie.between})"
            )
        matrices, bias = matrices_of(weights, OURS), weights[OURS.bias]
        # equal matrices need not be tied: training may have started them from the same vectors
        ties_output = OURS.output not in weights
        is_biased = self.biased and not ties_output
        if not is_biased and bias.any():
            raise CheckpointError(
                f"fairseq's {self.architecture} has no output bias, and that of the checkpoint is "
                "not zero; train with --no-output-bias"
            )
        stock = {
            self.names.source: matrices[SOURCE_INPUT],
            self.names.target: matrices[TARGET_INPUT],
            **({self.names.bias: bias} if is_biased else {}),
        }
        if self.names_tied_output or not ties_output:
            stock[self.names.output] = matrices[OUTPUT]
        for rule in self.rules:
            stock.update(rule.to_stock(weights))
        return {**stock, **self.constants}

    def _without_factors(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of ours whose ``readers`` have the factors of the lookups."""
        changed, matrices = dict(weights), matrices_of(weights, OURS)
        for use, readers in self.readers.items():
            factor, dim = _factor(weights, use), matrices[use].size(1)
            for name in changed.keys() & {*readers}:
                changed[name] = changed[name].clone()
                changed[name][:, :dim] *= factor
        return changed

    def scales(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether a state dict of ours multiplies looked-up rows by √dim, and not by 1.

        Raises:
            CheckpointError: it multiplies by a factor that fairseq's model cannot have.
        """
        dim = weights[OURS.source].size(1)
        factors = {_factor(weights, use) for use in _SCALES if use not in self.readers}
        if all(math.isclose(factor, 1, rel_tol=1e-5) for factor in factors):
            return False
        if self.scales_lookups and all(
            math.isclose(factor, math.sqrt(dim), rel_tol=1e-5) for factor in factors
        ):
            return True
        shown = " and ".join(f"{factor:g}" for factor in sorted(factors))
        possible = "1 and √dim" if self.scales_lookups else "1"
        raise CheckpointError(
            f"--input-scale {shown}: lookups of fairseq's {self.architecture} are scaled by "
            f"{possible} alone"
        )

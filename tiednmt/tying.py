"""The one place that decides which embedding matrix is which (Press & Wolf 2017, section 3).

A model has a source input embedding, a target input embedding and an output embedding. Tying is
done by sharing the ``nn.Embedding`` *module*, so that nothing that replaces a parameter can part
the matrices again.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from torch import Tensor, nn

from tiednmt.errors import UserError
from tiednmt.modules import OutputLayer

NONE, DECODER, THREE_WAY = "none", "decoder", "three-way"
TYINGS = (NONE, DECODER, THREE_WAY)

# what the matrices are called; a language model has one input embedding
INPUT, OUTPUT = "input embedding", "output embedding"
SOURCE_INPUT, TARGET_INPUT = "source input embedding", "target input embedding"


@dataclass
class TyingConfig(FairseqDataclass):
    """The options that every model of this package shares."""

    tying: ChoiceEnum(TYINGS) = field(  # type: ignore[valid-type]
        default=NONE,
        metadata={
            "help": "which embeddings are one matrix: none; decoder: target input = output; "
            "three-way: source input = target input = output (needs a joint dictionary)"
        },
    )
    projection: bool = field(
        default=False,
        metadata={
            "help": "put a matrix P (embedding x embedding) before the output embedding; "
            "see --projection-penalty of the criterion tied_cross_entropy"
        },
    )
    projection_bias: bool = field(
        default=False,
        metadata={"help": "give P a bias, as the paper's authors do in the code they released"},
    )


@dataclass(frozen=True)
class Embeddings:
    """The matrices of a model; where two are tied, the modules are one object."""

    source: nn.Embedding | None  # a language model has none
    target: nn.Embedding
    output: OutputLayer


def build_embeddings(
    cfg: TyingConfig, source_dictionary: Dictionary | None, target_dictionary: Dictionary, dim: int
) -> Embeddings:
    """Source input, target input and output embedding of size ``dim``, as ``cfg`` says.

    Without a source dictionary, those of a language model: the target's alone.

    Raises:
        UserError: three-way tying over dictionaries whose contents or order differ, or of a
            language model; a bias of no P.
    """
    tying: str = cfg.tying
    projection_bias = getattr(cfg, "projection_bias", False)  # not in older checkpoints
    if projection_bias and not cfg.projection:
        raise UserError("--projection-bias has no P to be added to; add --projection")
    if tying == THREE_WAY:
        require_joint(source_dictionary, target_dictionary)
    target = _embedding(target_dictionary, dim)
    output = target if tying != NONE else _embedding(target_dictionary, dim)
    if source_dictionary is None:
        source = None
    else:
        source = target if tying == THREE_WAY else _embedding(source_dictionary, dim)
    return Embeddings(source, target, OutputLayer(output, cfg.projection, projection_bias))


def embedding_rows(tying: str, source: int, target: int, joint: int) -> int:
    """Rows of all embedding matrices of a translation model, shared ones counted once.

    Args:
        tying: which of them are one matrix.
        source: vocabulary size of the source language.
        target: that of the target language.
        joint: that of both, which some of the modes need.
    """
    return {
        NONE: source + 2 * target,
        "inputs": joint + joint,
        DECODER: source + target,
        THREE_WAY: joint,
    }[tying]


def require_joint(source: Dictionary | None, target: Dictionary) -> None:
    """Refuse three-way tying over two different vocabularies (contents are compared)."""
    if source is None:
        raise UserError(
            "--tying three-way: a language model has no source embedding; use --tying decoder"
        )
    if source.symbols == target.symbols:
        return
    pairs = enumerate(zip(source.symbols, target.symbols, strict=False))
    first = next((i for i, (a, b) in pairs if a != b), min(len(source), len(target)))
    raise UserError(
        f"--tying three-way needs one joint dictionary, but the source dictionary ({len(source):,} "
        f"types) and the target dictionary ({len(target):,} types) differ from entry {first} on; "
        "prepare the data with fairseq-preprocess --joined-dictionary (python -m preprocess.* "
        "does), or use --tying decoder"
    )


def _embedding(dictionary: Dictionary, dim: int) -> nn.Embedding:
    """Rows of length about one, so that tied scores of the first step stay small."""
    embedding = nn.Embedding(len(dictionary), dim, padding_idx=dictionary.pad())
    nn.init.normal_(embedding.weight, std=dim**-0.5)
    nn.init.zeros_(embedding.weight[dictionary.pad()])
    return embedding


# --- checkpoints: each matrix stored once, refused where the vocabulary is another -------------


def drop_aliases(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: object) -> None:
    """State-dict hook: keep one entry of a parameter that is reached by several names."""
    for name, first in _aliases(module):
        state.pop(prefix + name, None)
        assert prefix + first in state


def restore_aliases(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Load-state-dict pre-hook: undo :func:`drop_aliases`."""
    for name, first in _aliases(module):
        if prefix + first in state:
            state.setdefault(prefix + name, state[prefix + first])


def _aliases(module: nn.Module) -> Iterator[tuple[str, str]]:
    """(name, first name) of every further name of a parameter."""
    first: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(parameter), name)
        if known != name:
            yield name, known


def vocabulary_digest(*dictionaries: Dictionary) -> Tensor:
    """Four integers that change with any type or its place, to be stored with a model."""
    text = "\n\n".join("\n".join(dictionary.symbols) for dictionary in dictionaries)
    digest = hashlib.sha256(text.encode()).digest()
    return torch.tensor([int.from_bytes(digest[i : i + 4], "big") for i in range(0, 16, 4)])


# --- the tie map ------------------------------------------------------------------------------


@dataclass(frozen=True)
class TieMap:
    """Which matrices are one and what that saves."""

    groups: tuple[tuple[tuple[str, ...], tuple[int, int]], ...]  # (names, (types, dim)) a matrix
    others: Mapping[str, int]  # parameters of what is not an embedding, by name

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding matrices, shared ones counted once."""
        return sum(types * dim for _, (types, dim) in self.groups)

    @property
    def total(self) -> int:
        """All parameters of the model."""
        return self.embedding_parameters + sum(self.others.values())

    @property
    def untied_total(self) -> int:
        """All parameters that the same model would have with ``--tying none``."""
        apart = sum(len(names) * types * dim for names, (types, dim) in self.groups)
        return self.total - self.embedding_parameters + apart

    def __str__(self) -> str:
        rows = [
            (" = ".join(names), f"{types:,} x {dim:,}", types * dim)
            for names, (types, dim) in self.groups
        ]
        rows += [(name, "", count) for name, count in self.others.items() if count]
        rows.append(("total", "", self.total))
        width = max(len(row[0]) for row in rows)
        lines = [f"  {name:{width}}  {shape:>15}  {count:>13,}" for name, shape, count in rows]
        saved = 1 - self.total / self.untied_total
        lines.append(
            f"  {saved:.1%} fewer than the {self.untied_total:,} of the same model with "
            "--tying none on these dictionaries"
            if saved
            else "  no matrix is tied"
        )
        return "\n".join(lines)


def matrices(embeddings: Embeddings) -> dict[tuple[str, ...], Tensor]:
    """Each distinct matrix (types × dim), by the names of all that it is."""
    named = {INPUT: embeddings.target.weight}
    if embeddings.source is not None:
        named = {SOURCE_INPUT: embeddings.source.weight, TARGET_INPUT: embeddings.target.weight}
    named[OUTPUT] = embeddings.output.embedding.weight
    return shared(named, lambda one, other: one is other)


def shared(
    named: Mapping[str, Tensor], same: Callable[[Tensor, Tensor], bool]
) -> dict[tuple[str, ...], Tensor]:
    """The distinct ones of ``named``, each by all its names, in order."""
    found: list[tuple[list[str], Tensor]] = []
    for name, weight in named.items():
        names = next((names for names, known in found if same(weight, known)), None)
        if names is None:
            found.append(([name], weight))
        else:
            names.append(name)
    return {tuple(names): weight for names, weight in found}


def tie_map(embeddings: Embeddings, model: nn.Module) -> TieMap:
    """The tie map of ``model``, whose embeddings are ``embeddings``."""
    projection = embeddings.output.projection
    of_projection = () if projection is None else projection.parameters()
    return make_tie_map(
        matrices(embeddings),
        total=sum(parameter.numel() for parameter in model.parameters()),
        bias=embeddings.output.bias.numel(),
        projection=sum(parameter.numel() for parameter in of_projection),
    )


def make_tie_map(
    weights: Mapping[tuple[str, ...], Tensor], total: int, bias: int, projection: int
) -> TieMap:
    """The tie map of a model of ``total`` parameters.

    Args:
        weights: each distinct matrix (types × dim), by the names of all that it is.
        total: parameters, shared ones counted once.
        bias: those of the output bias.
        projection: those of P and its bias.
    """
    seen = bias + projection + sum(weight.numel() for weight in weights.values())
    return TieMap(
        groups=tuple((names, (len(weight), weight.size(1))) for names, weight in weights.items()),
        others={"output bias": bias, "projection P": projection, "the rest": total - seen},
    )

"""The one place that decides which embedding matrix is which (Press & Wolf 2017, section 3).

A model has a source input embedding U_src, a target input embedding U_tgt and an output embedding
V. Tying shares the ``nn.Embedding`` *module*, so nothing that replaces a parameter can separate the
matrices again. This module needs only torch.

=============  =====================  ====================
``--tying``    one matrix             needs
=============  =====================  ====================
``none``
``inputs``     U_src = U_tgt          one joint vocabulary
``decoder``    U_tgt = V
``three-way``  U_src = U_tgt = V      one joint vocabulary
=============  =====================  ====================
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from tiednmt import __version__
from tiednmt.errors import CheckpointError, UserError
from tiednmt.modes import DECODER, INPUTS, NONE, THREE_WAY, TYINGS
from tiednmt.modules import OutputLayer
from tiednmt.modules.lookup import LookupScale, scale_old_lookups_by_one
from tiednmt.modules.output_maps import OutputMapOptions, label

JOINT = (INPUTS, THREE_WAY)  # both languages share a matrix, and so a vocabulary

# what the matrices are called; a language model has one input embedding
INPUT, OUTPUT = "input embedding", "output embedding"
SOURCE_INPUT, TARGET_INPUT = "source input embedding", "target input embedding"

# and their symbols, as in the README; "_" sets off a subscript
SYMBOLS = {SOURCE_INPUT: "U_src", TARGET_INPUT: "U_tgt", INPUT: "U", OUTPUT: "V"}


class Vocabulary(Protocol):
    """What tying reads of a vocabulary; fairseq's ``Dictionary`` is one."""

    symbols: Sequence[str]  # of the rows, in their order
    pad_index: int  # the row of padding, which gets no gradient from lookups


@dataclass(frozen=True)
class Embeddings:
    """The matrices of a model; tied matrices are the same module object.

    Attributes:
        source: the source input embedding; None in a language model.
        target: the target input embedding.
        output: the output embedding V with its bias and the projection P.
    """

    source: nn.Embedding | None
    target: nn.Embedding
    output: OutputLayer


class Dims(NamedTuple):
    """Numbers per row of each matrix: ``source`` and ``target`` input, and ``output`` embedding."""

    source: int
    target: int
    output: int


def build_embeddings(
    tying: str,
    source: Vocabulary | None,
    target: Vocabulary,
    dim: int | Dims,
    *,
    projection: bool = False,
    projection_bias: bool = False,
    rank: int = 0,
    output_map: OutputMapOptions | None = None,
) -> Embeddings:
    """Build the source input, target input and output embedding, tied as ``tying`` says.

    Args:
        tying: one of :data:`~tiednmt.modes.TYINGS`.
        source: the source vocabulary; None for a language model, which only has a target.
        target: the target vocabulary.
        dim: size of the embeddings, which for V is that of the decoder's features; one number for
            all, or one for each.
        projection: put a matrix P (dim × dim) before V (Press & Wolf 2017, section 4).
        projection_bias: give P a bias.
        rank: size of the rows of factorised matrices, which a :class:`LookupScale` projects up to
            ``dim``; 0: not factorised.
        output_map: maps the matrix to V.

    Raises:
        UserError: there is no such tying; the languages are to share a matrix, but the vocabularies
            differ or there is only one; embeddings of different sizes are to be one matrix; P's
            bias is asked for without P; or factorised rows are not shorter.
    """
    if projection_bias and not projection:
        raise UserError("--projection-bias has no P to be added to; add --projection")
    dims = Dims(dim, dim, dim) if isinstance(dim, int) else dim
    if not 0 <= rank < min(dims):
        raise UserError(
            f"--embedding-rank {rank}: must be from 1 to below the size of the embeddings, "
            f"{min(dims)}"
        )
    _require_mode(tying)
    if tying in JOINT:
        require_joint(tying, source, target)
    rows = Dims(rank, rank, rank) if rank else dims
    source_input, target_input, output = _tied_matrices(tying, source, target, rows)
    layer = OutputLayer(output, projection, projection_bias, dims.output, output_map)
    return Embeddings(source_input, target_input, layer)


def _tied_matrices(
    tying: str, source: Vocabulary | None, target: Vocabulary, rows: Dims
) -> tuple[nn.Embedding | None, nn.Embedding, nn.Embedding]:
    """The source input, target input and output embedding; tied ones are one module."""
    target_input = output = _embedding(target, rows.target)
    if tying in (DECODER, THREE_WAY):
        require_one_size(tying, {TARGET_INPUT: rows.target, OUTPUT: rows.output})
    else:
        output = _embedding(target, rows.output)
    if source is None:
        return None, target_input, output
    if tying in JOINT:
        require_one_size(tying, {SOURCE_INPUT: rows.source, TARGET_INPUT: rows.target})
        return target_input, target_input, output
    return _embedding(source, rows.source), target_input, output


def embedding_rows(tying: str, source: int, target: int, joint: int) -> int:
    """The total number of rows in the matrices of a model.

    Args:
        tying: one of :data:`~tiednmt.modes.TYINGS`.
        source: entries of the source vocabulary.
        target: entries of the target vocabulary.
        joint: entries of the joint vocabulary, if ``tying`` needs one.

    Raises:
        UserError: there is no such tying.
    """
    _require_mode(tying)
    rows = {NONE: source + 2 * target, INPUTS: 2 * joint, DECODER: source + target}
    return rows.get(tying, joint)


def _require_mode(tying: str) -> None:
    if tying not in TYINGS:
        raise UserError(f"--tying {tying}: must be one of {', '.join(TYINGS)}")


def require_joint(tying: str, source: Vocabulary | None, target: Vocabulary) -> None:
    """Refuse to share a matrix between two different vocabularies.

    Args:
        tying: the mode, for the message.
        source: the source vocabulary; None in a language model.
        target: the target vocabulary. Contents are compared, not identities.

    Raises:
        UserError: the vocabularies differ, or there is no source.
    """
    if source is None:
        raise UserError(
            f"--tying {tying}: a language model has no source embedding; use --tying decoder"
        )
    if [*source.symbols] == [*target.symbols]:
        return
    sizes = len(source.symbols), len(target.symbols)
    pairs = enumerate(zip(source.symbols, target.symbols, strict=False))
    first = next((i for i, (a, b) in pairs if a != b), min(sizes))
    raise UserError(
        f"--tying {tying} needs one joint dictionary, but the source dictionary ({sizes[0]:,} "
        f"entries) and the target dictionary ({sizes[1]:,} entries) differ from entry {first} on; "
        "prepare the data with fairseq-preprocess --joined-dictionary (python -m preprocess.* "
        "does), or use --tying decoder"
    )


def require_one_size(tying: str, dims: Mapping[str, int]) -> None:
    """Refuse a matrix whose rows would be of two sizes."""
    (one, size), (other, other_size) = dims.items()
    if size != other_size:
        raise UserError(
            f"--tying {tying} makes one matrix of the {one}, whose rows have {size:,} numbers, and "
            f"the {other}, whose rows have {other_size:,}; give both the same size"
        )


def _embedding(vocabulary: Vocabulary, dim: int) -> nn.Embedding:
    """Rows of length about one, so that tied scores of the first step stay small."""
    pad = vocabulary.pad_index
    embedding = nn.Embedding(len(vocabulary.symbols), dim, padding_idx=pad)
    nn.init.normal_(embedding.weight, std=dim**-0.5)
    nn.init.zeros_(embedding.weight[pad])
    return embedding


# --- checkpoints: each matrix stored once, refused where the vocabulary is another -------------

DIGEST = "vocabulary_version"  # in a state dict; fairseq's averages skip names with "version"


def guard_checkpoints(module: nn.Module, *vocabularies: Vocabulary) -> None:
    """Let state dicts of ``module`` store each matrix once, and load only with its vocabularies.

    A state dict of ``module`` also holds a digest of its vocabularies. Loading raises a
    CheckpointError if the digest differs, or if matrices that are tied here differ. The
    children of ``module`` also store and load each matrix once.
    """
    digest = vocabulary_digest(*vocabularies)
    for part in (module, *module.children()):
        part.register_state_dict_post_hook(drop_aliases)
        part.register_load_state_dict_pre_hook(restore_aliases)
        if hasattr(part, "input_scale"):
            part.register_load_state_dict_pre_hook(scale_old_lookups_by_one)
    module.register_state_dict_post_hook(partial(_add_digest, digest))
    module.register_load_state_dict_pre_hook(partial(_check_digest, digest))


def _add_digest(
    digest: Tensor, _: nn.Module, state: dict[str, Any], prefix: str, __: object
) -> None:
    state[prefix + DIGEST] = digest.clone()


def _check_digest(
    digest: Tensor, _: nn.Module, state: dict[str, Any], prefix: str, *__: object
) -> None:
    stored = state.pop(prefix + DIGEST, None)
    if stored is not None and not torch.equal(stored.cpu(), digest):
        raise CheckpointError(
            "the checkpoint was trained on other dictionaries than those of the data; "
            "use the data-bin it was trained on, or prepare the data with its dictionaries "
            "(fairseq-preprocess --srcdict, --tgtdict)"
        )


def drop_aliases(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: object) -> None:
    """State-dict hook: keep one entry of a parameter that has several names."""
    for name, first in aliases(module):
        state.pop(prefix + name, None)
        assert prefix + first in state


def restore_aliases(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Load-state-dict pre-hook: undo :func:`drop_aliases`.

    Raises:
        CheckpointError: ``state`` ties less than ``module``: it holds different matrices for one.
    """
    for name, first in aliases(module):
        one, other = state.get(prefix + first), state.get(prefix + name)
        if one is None:
            continue
        if other is not None and not _is_same(one, other):
            raise CheckpointError(
                f"the checkpoint ties less than the model: {first} and {name} are different "
                "matrices there and one matrix here, so that one of them would be lost; give the "
                "--tying that it was trained with, or make one of them first (tiednmt vocabulary "
                "tie)"
            )
        state[prefix + name] = one


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and torch.equal(one, other))


def aliases(module: nn.Module) -> Iterator[tuple[str, str]]:
    """(name, first name) of every further name of a parameter."""
    first: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(parameter), name)
        if known != name:
            yield name, known


def vocabulary_digest(*vocabularies: Vocabulary) -> Tensor:
    """Four integers, stored with a model, that depend on every entry and its position."""
    text = "\n\n".join("\n".join(vocabulary.symbols) for vocabulary in vocabularies)
    digest = hashlib.sha256(text.encode()).digest()
    numbers = [int.from_bytes(digest[i : i + 4], "big") for i in range(0, 16, 4)]
    return torch.tensor(numbers, device="cpu")


# --- the tie map ------------------------------------------------------------------------------


# what a model has beside its matrices and "the rest", by its name in a tie map
BIAS, PROJECTION, OUTPUT_MAP = "output bias", "projection P", "output map"
FACTORS, PRIVATE = "factors of the embeddings", "private source rows"


@dataclass(frozen=True)
class TieMap:
    """Which matrices are tied, and what that saves.

    Attributes:
        groups: for each matrix, the names of its uses and its size (rows, dim).
        others: the number of parameters of everything else, by name.
        between: the operations between a matrix and its uses, as in the signature.
    """

    groups: tuple[tuple[tuple[str, ...], tuple[int, int]], ...]
    others: Mapping[str, int]
    between: str = ""

    @property
    def tying(self) -> str:
        """The mode, of :data:`~tiednmt.modes.TYINGS`."""
        inputs = any({SOURCE_INPUT, TARGET_INPUT} <= set(names) for names, _ in self.groups)
        output = any(
            OUTPUT in names and (TARGET_INPUT in names or INPUT in names)
            for names, _ in self.groups
        )
        return {(True, True): THREE_WAY, (True, False): INPUTS, (False, True): DECODER}.get(
            (inputs, output), NONE
        )

    @property
    def signature(self) -> str:
        """One line, in the style of sacreBLEU's signatures, that is printed with every result."""
        sizes = dict.fromkeys(rows for _, (rows, _) in self.groups)
        dims = dict.fromkeys(dim for _, (_, dim) in self.groups)
        parts = (
            f"tie:{self.tying}",
            f"vocab:{'+'.join(map(str, sizes))}",
            f"dim:{'+'.join(map(str, dims))}",
            f"matrices:{len(self.groups)}",
            f"proj:{'yes' if self.others[PROJECTION] else 'no'}",
            self.between,
            f"params:{self.total}",
            f"version:{__version__}",
        )
        return "|".join(filter(None, parts))

    def to_json(self) -> dict[str, Any]:
        """The tie map in the types of JSON; :meth:`from_json` reads it."""
        groups = [{"names": list(names), "shape": list(shape)} for names, shape in self.groups]
        between = {"between": self.between} if self.between else {}
        return {"matrices": groups, "others": dict(self.others), **between}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TieMap:
        """The tie map that :meth:`to_json` wrote."""
        return cls(
            groups=tuple(
                (tuple(matrix["names"]), (matrix["shape"][0], matrix["shape"][1]))
                for matrix in content["matrices"]
            ),
            others=dict(content["others"]),
            between=content.get("between", ""),
        )

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding matrices, shared ones counted once."""
        return sum(rows * dim for _, (rows, dim) in self.groups)

    @property
    def total(self) -> int:
        """All parameters of the model."""
        return self.embedding_parameters + sum(self.others.values())

    @property
    def untied_total(self) -> int:
        """All parameters that the same model would have with ``--tying none``."""
        apart = sum(len(names) * rows * dim for names, (rows, dim) in self.groups)
        private = self.others.get(PRIVATE, 0)  # an untied source matrix has all rows to itself
        return self.total - private - self.embedding_parameters + apart

    def __str__(self) -> str:
        rows = [
            (" = ".join(names), f"{entries:,} x {dim:,}", entries * dim)
            for names, (entries, dim) in self.groups
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
    """Each distinct matrix (rows × dim), by the names of all its uses."""
    named = {INPUT: embeddings.target.weight}
    if embeddings.source is not None:
        named = {SOURCE_INPUT: embeddings.source.weight, TARGET_INPUT: embeddings.target.weight}
    named[OUTPUT] = embeddings.output.embedding.weight
    return shared(named, lambda one, other: one is other)


def stored_matrices(
    source: Tensor | None, target: Tensor | None, output: Tensor | None, has_output: bool = True
) -> dict[str, Tensor]:
    """The matrices of a state dict, by use; a matrix that is not stored is the one before it.

    Args:
        source: the source input embedding; None in a language model.
        target: the target input embedding; None where it is tied to the source's.
        output: the output embedding; None where it is tied to the target's.
        has_output: whether there is an output embedding at all (an adaptive softmax is none).
    """
    target = source if target is None else target
    if target is None:
        return {}
    named = {INPUT: target}
    if source is not None:
        named = {SOURCE_INPUT: source, TARGET_INPUT: target}
    if has_output:
        named[OUTPUT] = target if output is None else output
    return named


def is_dense(weight: object) -> bool:
    """Whether ``weight`` is a tensor with all its numbers in memory: neither sparse nor meta."""
    return isinstance(weight, Tensor) and weight.layout is torch.strided and not weight.is_meta


def equal_matrices(named: Mapping[str, Tensor]) -> dict[tuple[str, ...], Tensor]:
    """The distinct matrices of a state dict, each by all its names; equal ones count as tied."""
    return shared(named, _is_same)


def shared(
    named: Mapping[str, Tensor], same: Callable[[Tensor, Tensor], bool]
) -> dict[tuple[str, ...], Tensor]:
    """The distinct tensors of ``named``, each by all its names, in order."""
    distinct: list[tuple[list[str], Tensor]] = []
    for name, weight in named.items():
        names = next((names for names, known in distinct if same(weight, known)), None)
        if names is None:
            distinct.append(([name], weight))
        else:
            names.append(name)
    return {tuple(names): weight for names, weight in distinct}


def tie_map(embeddings: Embeddings, model: nn.Module) -> TieMap:
    """The tie map of ``model``, whose embeddings are ``embeddings``."""
    output = embeddings.output
    lookups = [module for module in model.modules() if isinstance(module, LookupScale)]
    private = next((scale.private for scale in lookups if scale.private is not None), None)
    return make_tie_map(
        matrices(embeddings),
        total=_count(model.parameters()),
        bias=output.bias.numel(),
        projection=_count(() if output.projection is None else output.projection.parameters()),
        output_map={} if output.map is None else dict(output.map.named_parameters()),
        down=None if output.down is None else output.down.weight,
        up=[scale.up.weight for scale in lookups if scale.up is not None],
        private=None if private is None else private.weight,
    )


def _count(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def make_tie_map(
    weights: Mapping[tuple[str, ...], Tensor],
    total: int,
    bias: int,
    projection: int,
    output_map: Mapping[str, Tensor] | None = None,
    down: Tensor | None = None,
    up: Sequence[Tensor] = (),
    private: Tensor | None = None,
) -> TieMap:
    """The tie map of a model of ``total`` parameters.

    Args:
        weights: each distinct matrix (rows × dim), by the names of all its uses.
        total: parameters, shared ones counted once.
        bias: the number of parameters of the output bias.
        projection: the number of parameters of P and its bias.
        output_map: the parameters of the map between a matrix and V, by name.
        down: of a factorised model, the matrix that projects features down to the size of a row.
        up: of a factorised model, the matrices that project looked-up rows up to an embedding.
        private: the private rows of the source side.
    """
    output_map = output_map or {}
    factors = [*up, *([] if down is None else [down])]
    ways = {
        OUTPUT_MAP: _count(output_map.values()),
        FACTORS: _count(factors),
        PRIVATE: 0 if private is None else private.numel(),
    }
    others = {
        BIAS: bias,
        PROJECTION: projection,
        **{n: count for n, count in ways.items() if count},
    }
    words = {
        "embed": str(down.size(1)) if down is not None else "",
        "private": str(len(private)) if private is not None else "",
        "map": label(output_map),
    }
    rest = total - sum(others.values()) - _count(weights.values())
    return TieMap(
        groups=tuple((names, (len(weight), weight.size(1))) for names, weight in weights.items()),
        others={**others, "the rest": rest},
        between="|".join(f"{key}:{word}" for key, word in words.items() if word),
    )

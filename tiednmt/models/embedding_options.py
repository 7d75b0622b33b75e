"""The embeddings of a model, and the operations on their lookups, as its options say."""

import copy
from pathlib import Path
from typing import Any

from fairseq.data import Dictionary
from fairseq.tasks import FairseqTask
from fairseq.utils import split_paths
from torch import nn

from tiednmt.errors import UserError
from tiednmt.modules.linear import kept_exact
from tiednmt.modules.lookup import LookupScale, PrivateRows
from tiednmt.modules.output_maps import OutputMapOptions
from tiednmt.options import option_name
from tiednmt.text.lines import read_units
from tiednmt.tying import JOINT, Dims, Embeddings, build_embeddings

LEARNED_FROM = 4.0  # what --input-scale learned starts from


def embeddings_of(
    cfg: Any, source: Dictionary | None, target: Dictionary, dim: int | Dims
) -> Embeddings:
    """:func:`tiednmt.tying.build_embeddings` with the options of a model."""
    if cfg.private_units and cfg.tying not in JOINT:
        raise UserError(
            f"--private-units: with --tying {cfg.tying} the languages share no matrix; "
            f"use --tying {' or '.join(JOINT)}"
        )
    return build_embeddings(
        cfg.tying,
        source,
        target,
        dim,
        projection=cfg.projection,
        projection_bias=cfg.projection_bias,
        rank=cfg.embedding_rank,
        output_map=OutputMapOptions(
            str(cfg.output_map),
            cfg.output_map_size,
            cfg.output_map_depth,
            cfg.output_map_dropout,
        ),
    )


def lookup_scale_of(
    cfg: Any,
    source: Dictionary | None = None,
    *,
    learned_from: float = LEARNED_FROM,
    dim: int | None = None,
    option: str = "input_scale",
) -> LookupScale:
    """The operations between the lookups of one side and the layers that read them.

    Args:
        cfg: options of the model.
        source: the source dictionary, for the side that looks up source units, which may have
            private rows.
        learned_from: what a learned scale starts from.
        dim: embedding size, if it differs from the option ``embed_dim``.
        option: the option with the scale.

    Raises:
        UserError: it says what it cannot.
    """
    dim, rank = dim or cfg.embed_dim, cfg.embedding_rank
    up = kept_exact(nn.Linear(rank, dim, bias=False)) if rank else None
    private = None if source is None else _private_rows_of(cfg, source, rank or dim)
    asked, gradient_scale = str(getattr(cfg, option)), cfg.input_gradient_scale
    return LookupScale.of(
        asked, dim, learned_from, gradient_scale, option_name(option), up, private
    )


def with_private_units_path(cfg: Any, task: FairseqTask) -> Any:
    """The options, with the path of the file of units, which may be in the data-bin."""
    name = cfg.private_units
    if not name or Path(name).is_file():
        return cfg
    data = getattr(task.cfg, "data", "")
    if not data:
        return cfg
    path = Path(split_paths(data)[0]) / name
    if not path.is_file():
        return cfg
    cfg = copy.copy(cfg)
    cfg.private_units = str(path)
    return cfg


def _private_rows_of(cfg: Any, source: Dictionary, size: int) -> PrivateRows | None:
    """The private rows of the source side, if it has any, of ``size`` numbers."""
    name = cfg.private_units
    if not name:
        return None
    path = Path(name)
    units = _units_in(path, source) if path.is_file() else None
    return PrivateRows(units, size, name)


def _units_in(path: Path, dictionary: Dictionary) -> list[int]:
    """The entries of the units that stand in a file, one per line."""
    entries = {symbol: entry for entry, symbol in enumerate(dictionary.symbols)}
    units = read_units(path)
    if not units:
        raise UserError(f"--private-units {path}: holds no units")
    for number, unit in enumerate(units, start=1):
        if unit not in entries or unit == dictionary.pad_word:
            raise UserError(
                f"--private-units {path}, line {number}: {unit!r} is not a unit of the dictionary"
            )
    return [entries[unit] for unit in units]

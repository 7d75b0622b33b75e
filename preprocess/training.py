"""Commands that train a model on what has been prepared, and score it: a beginning."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from shlex import quote

EPOCHS, FILLED = 16, 0.9  # of a training; how full its batches are, by and large


@dataclass(frozen=True)
class _Recipe:
    """A model and its training, for texts of up to so many running ``units`` on a side."""

    units: float
    model: str
    dropout: float
    optimizer: str  # further options
    schedule: str
    batch: int  # in tokens
    updates: tuple[int, int]  # at least and at most


# Of 85,000 units the GRU learns more than the Transformer (3.0 BLEU), of 430,000 less (2.0): see
# docs/architectures.md. The last limit is a rule of thumb.
RECIPES = (
    _Recipe(
        300_000,
        *("tied_gru", 0.4, "--clip-norm 1.0"),
        "--lr 0.002 --lr-scheduler cosine --warmup-updates 300",
        batch=1000,
        updates=(3000, 10**6),
    ),
    _Recipe(
        3_000_000,
        *("tied_transformer_tiny", 0.2, ""),
        "--lr 0.003 --lr-scheduler cosine --warmup-updates 400",
        batch=4096,
        updates=(4000, 10**6),
    ),
    _Recipe(
        inf,
        *("tied_transformer_iwslt_de_en", 0.3, "--weight-decay 0.0001"),
        "--lr 0.0005 --lr-scheduler inverse_sqrt --warmup-updates 4000",
        batch=4096,
        updates=(50_000, 100_000),
    ),
)


def architecture_for(units: int) -> str:
    """The ``--arch`` for a text of so many running units, on the side that has more."""
    return _recipe_for(units).model


def _recipe_for(units: int) -> _Recipe:
    return next(recipe for recipe in RECIPES if units <= recipe.units)


def training_command(
    data_bins: Sequence[Path], tying: str, units: int, longest_held_out: int
) -> str:
    """``fairseq-train`` with the model and the training that fit the size of the text.

    Args:
        data_bins: of one corpus.
        tying: what fits the two languages.
        units: running units of the training text, on the side that has more.
        longest_held_out: units of the longest line that validates: fairseq stops at one that does
            not fit into a batch.
    """
    recipe = _recipe_for(units)
    batch = max(recipe.batch, longest_held_out + 1)
    least, most = recipe.updates
    updates = min(max(round(EPOCHS * units / (FILLED * batch) / 100) * 100, least), most)
    data = os.pathsep.join(map(str, data_bins))
    return " \\\n  ".join(
        (
            f"fairseq-train {quote(data)} --user-dir tiednmt",
            f"--arch {recipe.model} --tying {tying} --dropout {recipe.dropout}",
            "--criterion tied_cross_entropy --label-smoothing 0.1",
            f"--optimizer adam --adam-betas '(0.9, 0.98)' {recipe.optimizer}".rstrip(),
            f"{recipe.schedule} --max-update {updates}",
            f"--max-tokens {batch} --required-batch-size-multiple 1 --grouped-shuffling",
            f"--no-epoch-checkpoints --save-dir {quote(_save_dir(data_bins[0], tying))}",
        )
    )


def scoring_command(data_bins: Sequence[Path], tying: str, subsets: Sequence[str]) -> str:
    """``scripts.evaluate`` of what :func:`training_command` leaves.

    Args:
        data_bins: of one corpus.
        tying: as there.
        subsets: to score.
    """
    prepared = _prepared(data_bins[0])
    checkpoint = f"{_save_dir(data_bins[0], tying)}/checkpoint_best.pt"
    sets = " ".join(f"--subset {quote(subset)}" for subset in subsets)
    return (
        f"python -m scripts.evaluate {quote(checkpoint)} \\\n  --data {quote(str(prepared))} {sets}"
    )


def _save_dir(data_bin: Path, tying: str) -> str:
    return f"runs/{_prepared(data_bin).absolute().name}-{tying}"


def _prepared(data_bin: Path) -> Path:
    """The prepared folder of ``data-bin`` or of one of its parts."""
    return data_bin.parent if data_bin.name == "data-bin" else data_bin.parent.parent

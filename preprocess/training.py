"""Commands that train a model on what has been prepared, and score it: a beginning."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

LARGE = 3_000_000  # running units of a side, from which on a Transformer learns enough from them
EPOCHS, FILLED = 16, 0.9  # of a small text; how full its batches are, by and large


def training_command(
    data_bins: Sequence[Path], tying: str, units: int, longest_held_out: int
) -> str:
    """``fairseq-train`` by the recipe of Multi30k, or of IWSLT14 for a larger text.

    Args:
        data_bins: of one corpus.
        tying: what fits the two languages.
        units: running units of the training text, on the side that has more.
        longest_held_out: units of the longest line that validates: fairseq stops at one that does
            not fit into a batch.
    """
    large = units > LARGE
    batch = max(4096 if large else 1000, longest_held_out + 1)
    if large:
        updates = min(100_000, max(50_000, units // batch * EPOCHS))
        recipe = (
            f"--arch tied_transformer_iwslt_de_en --tying {tying} --dropout 0.3",
            "--criterion tied_cross_entropy --label-smoothing 0.1",
            "--optimizer adam --adam-betas '(0.9, 0.98)' --weight-decay 0.0001",
            f"--lr 0.0005 --lr-scheduler inverse_sqrt --warmup-updates 4000 --max-update {updates}",
        )
    else:
        updates = max(3000, round(EPOCHS * units / (FILLED * batch) / 100) * 100)
        recipe = (
            f"--arch tied_gru --tying {tying} --dropout 0.4",
            "--criterion tied_cross_entropy --label-smoothing 0.1",
            "--optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0",
            f"--lr 0.002 --lr-scheduler cosine --warmup-updates 300 --max-update {updates}",
        )
    data = os.pathsep.join(map(str, data_bins))
    return " \\\n  ".join(
        (
            f"fairseq-train {quote(data)} --user-dir tiednmt",
            *recipe,
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

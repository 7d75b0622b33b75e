"""A command that trains a model on what has been prepared: a beginning that suits its size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

EPOCHS = 16  # of a small corpus; a large one is known sooner
LEAST_UPDATES, MOST_UPDATES = 3000, 100_000
FILLED = 0.9  # of a batch, by and large
LARGE = 5_000_000  # running units of a side


def training_command(
    data_bins: Sequence[Path], tying: str, units: int, longest_held_out: int
) -> str:
    """``fairseq-train`` on the folders, with the recipe of Multi30k or what a larger text wants.

    Args:
        data_bins: of one corpus.
        tying: what fits the two languages.
        units: running units of the training text, on the side that has more.
        longest_held_out: units of the longest line that validates: fairseq stops at one that does
            not fit into a batch.
    """
    large = units > LARGE
    batch = max(4000 if large else 1000, longest_held_out + 1)
    updates = round(EPOCHS * units / (FILLED * batch) / 100) * 100
    updates = min(MOST_UPDATES, max(LEAST_UPDATES, updates))
    data = os.pathsep.join(map(str, data_bins))
    save_dir = f"runs/{data_bins[0].parent.name}-{tying}"
    return " \\\n  ".join(
        (
            f"fairseq-train {quote(data)} --user-dir tiednmt",
            f"--arch tied_gru --tying {tying} --dropout {0.2 if large else 0.4}",
            "--criterion tied_cross_entropy --label-smoothing 0.1",
            "--optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0",
            f"--lr 0.002 --lr-scheduler cosine --warmup-updates 300 --max-update {updates}",
            f"--max-tokens {batch} --required-batch-size-multiple 1 --grouped-shuffling",
            f"--no-epoch-checkpoints --save-dir {quote(save_dir)}",
        )
    )

"""The test sets that sacreBLEU knows, such as ``wmt14/full``, downloaded by it when first used."""

from __future__ import annotations

from pathlib import Path

import sacrebleu
from sacrebleu.utils import SACREBLEU_DIR

from tiednmt.errors import UserError
from tiednmt.text.lines import read_lines


def is_standard(name: str) -> bool:
    """Whether sacreBLEU knows a test set of this name."""
    return name in sacrebleu.get_available_testsets()


def standard_set(name: str, source: str, target: str) -> tuple[list[str], list[list[str]]]:
    """The source lines of a test set, and all of its references: a list for each.

    Raises:
        UserError: it has not that pair of languages, or cannot be downloaded.
    """
    pair = f"{source}-{target}"
    if pair not in sacrebleu.get_langpairs_for_testset(name):
        raise UserError(f"--subset {name}: sacreBLEU's test set has no {pair}")
    try:
        files = [
            sacrebleu.get_source_file(name, pair),
            *sacrebleu.get_reference_files(name, pair),
        ]
    except (OSError, SystemExit) as error:  # it ends the process where a hash is wrong
        raise UserError(
            f"--subset {name}: sacreBLEU could not download it to {SACREBLEU_DIR} ({error});"
            " take a subset of the prepared folder"
        ) from None
    lines, *references = (list(read_lines(Path(file))) for file in files)
    return lines, references

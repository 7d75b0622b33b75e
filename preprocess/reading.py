"""Read the raw text of a corpus into the prepared folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from preprocess.files import may_open
from preprocess.pairs import Pair, TextFile
from tiednmt.errors import UserError
from tiednmt.files import write_whole
from tiednmt.text.normalise import ASCII, TYPOGRAPHIC


def read_pairs(
    pairs: Iterable[Pair],
    parts: Sequence[Sequence[Path]],
    require: Callable[[Sequence[int]], None],
) -> dict[str, Any]:
    """Deal pairs out to ``parts`` in turn.

    Args:
        pairs: of raw text.
        parts: the two files of each part.
        require: raises an error if a part got too few; then no file is left.

    Returns:
        ``parts``: how many pairs each part got; ``apostrophes``: for each side, how many
        typographic and how many ASCII apostrophes stand within words.
    """
    may_open(4 * len(parts), "choose fewer --parts")  # two texts, and the lock of each
    counts = [0] * len(parts)
    apostrophes = [[0, 0], [0, 0]]
    with ExitStack() as stack:
        files = [[stack.enter_context(write_whole(path)) for path in part] for part in parts]
        for number, pair in enumerate(tqdm(pairs, "read", unit=" pairs", disable=None)):
            part = number % len(parts)
            counts[part] += 1
            for side, line in enumerate(pair):
                files[part][side].write(line + "\n")
                if "’" in line:
                    apostrophes[side][0] += len(TYPOGRAPHIC.findall(line))
                if "'" in line:
                    apostrophes[side][1] += len(ASCII.findall(line))
        require(counts)
    return {"parts": counts, "apostrophes": apostrophes}


def copy_reference(file: TextFile, path: Path, lines: int) -> None:
    """Copy a further reference of a set that has this many lines.

    Raises:
        UserError: it does not have as many lines.
    """
    count = 0
    with write_whole(path) as copy:
        for line in file.lines():
            copy.write(line + "\n")
            count += 1
        if count != lines:  # before the copy gets its name
            raise UserError(
                f"{file} has {count:,} lines, and the set that it is a reference of {lines:,}"
            )

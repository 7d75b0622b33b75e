"""Find the pairs that a corpus holds more than once, whatever its size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from tiednmt.files import named_when_whole
from tiednmt.text.lines import read_lines

BUCKET_KEYS = 4_000_000  # sorted at a time, in 200 MB; a larger corpus takes more rounds
BLOCK_KEYS = 1_000_000


def mark_duplicates(keys: Sequence[Path], marks: Sequence[Path]) -> list[int]:
    """Write, for each file of keys, one byte per pair: 1 if an equal pair comes before it.

    Memory does not depend on the size of the corpus: a round looks only at the keys with one
    remainder.

    Args:
        keys: files of 8 bytes per pair, in the order in which pairs count as first.
        marks: the file to write for each of them.

    Returns:
        How many pairs are marked in each.
    """
    sizes = [path.stat().st_size // 8 for path in keys]
    rounds = max(1, -(-sum(sizes) // BUCKET_KEYS))
    with ExitStack() as stack:
        partial = [stack.enter_context(named_when_whole(path)) for path in marks]
        for path, size in zip(partial, sizes, strict=True):
            with open(path, "wb") as file:
                file.truncate(size)
        for remainder in tqdm(range(rounds), "find duplicates", unit=" rounds", disable=None):
            _mark_round(keys, sizes, partial, rounds, remainder)
        return [_ones(path) for path in partial]


def _mark_round(
    keys: Sequence[Path], sizes: Sequence[int], marks: Sequence[Path], rounds: int, remainder: int
) -> None:
    """Mark the duplicates among the keys with this remainder."""
    import numpy as np

    chosen_keys, chosen_places = [], []  # a place: the number of the pair in the whole corpus
    start = 0
    for path, size in zip(keys, sizes, strict=True):
        for begin in range(0, size, BLOCK_KEYS):
            block = np.fromfile(
                path, dtype="<u8", count=min(BLOCK_KEYS, size - begin), offset=8 * begin
            )
            chosen = np.flatnonzero(block % np.uint64(rounds) == remainder)
            chosen_keys.append(block[chosen])
            chosen_places.append(chosen + (start + begin))
        start += size
    if not chosen_keys:
        return
    all_keys, all_places = np.concatenate(chosen_keys), np.concatenate(chosen_places)
    order = np.argsort(all_keys, kind="stable")
    ordered = all_keys[order]
    again = order[1:][ordered[1:] == ordered[:-1]]
    places = np.sort(all_places[again])
    ends = np.cumsum(sizes)
    for path, size, end in zip(marks, sizes, ends, strict=True):
        here = places[(places >= end - size) & (places < end)] - (end - size)
        if len(here):
            np.memmap(path, dtype=np.uint8, mode="r+")[here] = 1


def _ones(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(block.count(1) for block in iter(lambda: file.read(1 << 20), b""))


def unmarked_lines(path: Path, marks: Path | None) -> Iterator[str]:
    """The lines of a file that ``marks`` does not mark; all, where there is no such file."""
    if marks is None:
        yield from read_lines(path)
        return
    with open(marks, "rb") as file:
        for line in read_lines(path):
            if file.read(1) == b"\0":
                yield line

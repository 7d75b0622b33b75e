"""Pairs held out of the training text, to validate on: chosen by chance, with all their copies.

And the pairs of other held-out sets that were not held out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappush, heappushpop
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from preprocess.filters import Filters
from preprocess.pairs import Pair, PairSource
from preprocess.tokenisation import pair_key
from tiednmt.errors import UserError
from tiednmt.files import write_whole
from tiednmt.text.lines import read_lines
from tiednmt.text.normalise import normalise


def hold_out(
    sources: Sequence[PairSource], number: int, filters: Filters, outputs: Sequence[Path]
) -> None:
    """Write ``number`` different pairs of ``sources``, in their order, to the two ``outputs``.

    Pairs that the filters would drop from raw text are not taken. The pairs with the smallest
    hashes are, so the choice does not depend on their order. Only the chosen pairs are in memory.

    Raises:
        UserError: there are too few pairs, or none would be left.
    """
    chosen: list[tuple[int, int, Pair]] = []  # a heap: minus the key, place, pair
    keys: set[int] = set()
    is_any_left = False
    pairs = chain.from_iterable(source.pairs() for source in sources)
    for place, pair in enumerate(tqdm(pairs, "hold out", unit=" pairs", disable=None)):
        if filters.fault(pair) is not None:
            continue
        key = held_out_key(pair)
        if key in keys:
            continue
        is_any_left = len(chosen) == number
        if is_any_left and key > -chosen[0][0]:
            continue
        keys.add(key)
        if len(chosen) < number:
            heappush(chosen, (-key, place, pair))
        else:
            keys.remove(-heappushpop(chosen, (-key, place, pair))[0])
    if len(chosen) < number:
        raise UserError(
            f"--valid {number}: the training text has only {len(chosen)} different pairs that can"
            " be held out; hold out fewer"
        )
    if not is_any_left:
        raise UserError(f"--valid {number}: no pair would be left to train on; hold out fewer")
    held_out = [pair for _, _, pair in sorted(chosen, key=lambda item: item[1])]
    for side, path in enumerate(outputs):
        with write_whole(path) as file:
            file.writelines(pair[side] + "\n" for pair in held_out)


def without(pairs: Iterable[Pair], held_out: Sequence[Path]) -> Iterator[Pair]:
    """The pairs that are not in the two files of :func:`hold_out`, ignoring white space."""
    keys = set(map(held_out_key, _pairs(held_out)))
    return (pair for pair in pairs if held_out_key(pair) not in keys)


def count_copies(
    held_out: Mapping[str, Sequence[Path]], training: Sequence[Sequence[Path]]
) -> dict[str, int]:
    """How many pairs of each held-out set are training pairs too.

    Args:
        held_out: the two files of each set, in tokens.
        training: the two files of each part of the training text, in tokens.
    """
    keys = {name: [*map(pair_key, _pairs(files))] for name, files in held_out.items()}
    wanted = set(chain.from_iterable(keys.values()))
    pairs = chain.from_iterable(map(_pairs, training))
    read = tqdm(pairs, "look for held-out pairs", unit=" pairs", disable=None)
    found = wanted.intersection(map(pair_key, read))
    return {name: sum(key in found for key in of_set) for name, of_set in keys.items()}


def _pairs(files: Sequence[Path]) -> Iterator[Pair]:
    source, target = map(read_lines, files)
    return zip(source, target, strict=True)


def held_out_key(pair: Pair) -> int:
    """A number that pairs have in common if tokenising can make them equal."""
    source, target = ("".join(normalise(line).split()) for line in pair)
    return int.from_bytes(pair_key((source, target)), "big")

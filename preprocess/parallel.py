"""Work on many lines of text, on all cores."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice

from tqdm import tqdm

from tiednmt.errors import UserError

BLOCK_PAIRS = 200_000
CHUNK_PAIRS = 500

Pair = tuple[str, str]


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_pairs(
    function: Callable[[Pair], Pair], pairs: Iterable[Pair], workers: int, title: str
) -> Iterator[Pair]:
    """``function`` of each pair of lines, in order.

    On ``workers`` processes where that pays, a block at a time, so that memory is bounded.
    """
    pairs = iter(pairs)
    block = list(islice(pairs, BLOCK_PAIRS))
    with tqdm(desc=title, unit=" pairs", disable=None) as bar:
        if workers == 1 or len(block) <= 2 * CHUNK_PAIRS:
            for pair in chain(block, pairs):
                bar.update()
                yield function(pair)
            return
        try:
            with ProcessPoolExecutor(workers, initializer=_keep, initargs=(function,)) as pool:
                while block:
                    for pair in pool.map(_apply_kept, block, chunksize=CHUNK_PAIRS):
                        bar.update()
                        yield pair
                    block = list(islice(pairs, BLOCK_PAIRS))
        except BrokenProcessPool:
            raise UserError(
                f"{title}: a worker process was killed, perhaps for want of memory;"
                f" ask for fewer than --workers {workers}"
            ) from None


_kept: Callable[[Pair], Pair]


def _keep(function: Callable[[Pair], Pair]) -> None:
    """Once in each worker, so that models are loaded once and their caches last."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers for all
    global _kept
    _kept = function


def _apply_kept(pair: Pair) -> Pair:
    return _kept(pair)

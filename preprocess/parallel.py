"""Work on many lines of text, on all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any, TypeVar

from tqdm import tqdm

from tiednmt.errors import UserError, leave_signals_to_parent

CHUNK_ITEMS = 500
CHUNKS_AHEAD = 4  # for each worker

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    title: str,
    unit: str,
    total: int | None = None,
    chunk: int = CHUNK_ITEMS,
    least: int | None = None,
) -> Iterator[Result]:
    """``function`` of each item, in order, under a progress bar.

    Items are read no further ahead than the workers need, so that memory is bounded.

    Args:
        function: what is done to an item; other processes receive it once.
        items: any number of them.
        workers: processes, where more than one pays.
        title: what the progress bar says.
        unit: what it counts.
        total: how many items there are, where that is known.
        chunk: how many items a process is sent at a time.
        least: from how many items on processes pay (default: more than two chunks).
    """
    items = iter(items)
    least = 2 * chunk + 1 if least is None else least
    first = list(islice(items, least))
    items = chain(first, items)
    with tqdm(desc=title, unit=f" {unit}", total=total, disable=None) as bar:
        if workers == 1 or len(first) < least:
            results: Iterator[Result] = map(function, items)
        else:
            results = chain.from_iterable(_map_chunks(function, items, workers, title, chunk))
        for result in results:
            bar.update()
            yield result


def _map_chunks(
    function: Callable[[Item], Result], items: Iterator[Item], workers: int, title: str, size: int
) -> Iterator[list[Result]]:
    """The results a chunk at a time, ``CHUNKS_AHEAD`` chunks for each worker under way."""
    under_way: deque[Future[list[Result]]] = deque()
    try:
        with ProcessPoolExecutor(workers, initializer=_keep, initargs=(function,)) as pool:
            try:
                while chunk := list(islice(items, size)):
                    under_way.append(pool.submit(_apply_kept, chunk))
                    if len(under_way) > CHUNKS_AHEAD * workers:
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)
    except BrokenProcessPool:
        raise UserError(
            f"{title}: a worker process was killed, perhaps by lack of memory;"
            f" use fewer than --workers {workers}"
        ) from None


_kept: Callable[[Any], Any]


def _keep(function: Callable[[Any], Any]) -> None:
    """Once in each worker, so that models are loaded once and their caches last."""
    leave_signals_to_parent()
    global _kept
    _kept = function


def _apply_kept(items: list[Any]) -> list[Any]:
    return [_kept(item) for item in items]

"""Processes that share out the sentences of a batch among the cores of a CPU.

The steps of a search are many small operations, which gain little from several threads each; a
process with a share of the sentences and one thread gains nearly all of its core.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import current_process, get_context, parent_process
from os import _exit, getpid
from typing import Any

import torch

from tiednmt.errors import UserError, leave_signals_to_parent


class Workers:
    """Forked copies of this process with one thread each.

    They inherit the parent's memory at fork time and exit when it does.

    Args:
        work: what they do; takes and returns what can be pickled quickly (no tensors, whose memory
            torch would share one by one).
        count: how many they are.
    """

    def __init__(self, work: Callable[..., Any], count: int) -> None:
        self.count = count
        self._made_by = getpid()
        self._pool = ProcessPoolExecutor(count, get_context("fork"), _start, (work,))

    @property
    def ours(self) -> bool:
        """Whether they answer to this process, and not to the one that it was forked from."""
        return self._made_by == getpid()

    def close(self) -> None:
        """End them."""
        if self.ours:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def map(self, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """``work(*arguments[i])`` for every i.

        Raises:
            UserError: the system killed one of them, or let none begin.
        """
        try:
            return list(self._pool.map(_work, arguments))
        except BrokenProcessPool as error:
            raise UserError(
                "a process that decodes was killed, perhaps by lack of memory; use smaller "
                "batches, or set OMP_NUM_THREADS=1 for one process"
            ) from error
        except OSError as error:
            raise UserError(
                f"no further process can decode ({error.strerror}); set OMP_NUM_THREADS=1 for one"
            ) from error


def worth_forking(sentences: int) -> bool:
    """Whether a batch of so many sentences on the CPU is better shared among processes.

    Only where processes may have children: those of a ``multiprocessing.Pool`` may not. And only
    where the main thread searches. A lock that another thread holds at the moment of the fork
    stays locked in the worker, so none may compute with torch meanwhile.
    """
    return (
        sys.platform == "linux"
        and sentences > 1
        and torch.get_num_threads() > 1
        and not current_process().daemon
        and threading.current_thread() is threading.main_thread()
    )


_chosen: Callable[..., Any]  # in a worker: its work


def _start(work: Callable[..., Any]) -> None:
    global _chosen
    _chosen = work
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    leave_signals_to_parent()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    _exit(1)


def _work(arguments: tuple[Any, ...]) -> Any:
    return _chosen(*arguments)

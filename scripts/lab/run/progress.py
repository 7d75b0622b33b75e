"""The progress of trainings: a bar for each in a terminal, otherwise a line now and then."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

SHARE = 0.2  # of a training, between two lines
SECONDS = 300.0  # at most, between two lines


class Progress:
    """The progress of the training ``name``, on standard error."""

    def __init__(
        self, name: str, total: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._clock = name, clock
        self._bar = tqdm(total=total, desc=name, unit=" updates") if sys.stderr.isatty() else None
        self._started = self._last_time = clock()
        self._last_update: int | None = None

    def update(self, updates: int, total: int | None, perplexity: str) -> None:
        """Show that ``updates`` of ``total`` (None: not known yet) are done."""
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(updates - self._bar.n)
            self._bar.set_postfix(ppl=perplexity)
        elif self._is_due(updates, total):
            seconds = self._clock() - self._started
            done = f"{updates:,}" if total is None else f"{updates:,} of {total:,}"
            self._say(f"{done} updates, perplexity {perplexity}, {seconds:.0f} s")
            self._last_update, self._last_time = updates, self._clock()

    def _is_due(self, updates: int, total: int | None) -> bool:
        end = math.inf if total is None else total
        if self._last_update is None or updates >= end:
            return updates != self._last_update
        far = updates - self._last_update >= SHARE * end
        return far or self._clock() - self._last_time >= SECONDS

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def _say(self, text: str) -> None:
        print(f"{self._name}: {text}", file=sys.stderr, flush=True)

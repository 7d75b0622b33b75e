"""What fairseq 0.12 asks of numpy and today's numpy no longer has."""

from __future__ import annotations

from types import SimpleNamespace

import numpy


def provide_numpy_long() -> None:
    """Give numpy ``compat.long`` where it is gone (2.3 and later).

    fairseq's datasets of single sentences, and so ``fairseq-interactive`` with a language model,
    end in an AttributeError without it.
    """
    if not hasattr(numpy, "compat"):
        numpy.compat = SimpleNamespace(long=int)  # type: ignore[attr-defined]

"""``fairseq-interactive`` answers every line that it is given."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from fairseq.tokenizer import tokenize_line
from fairseq_cli import interactive

from tiednmt.patches.patch import patch
from tiednmt.text.lines import read_lines

logger = logging.getLogger(__name__)


def keep_lines_whole() -> None:
    """Let a line of ``--input FILE`` end at a line feed alone, as one of stdin does.

    fairseq ends lines at carriage returns too, so more come out than the file has.
    """

    def buffered_read(
        read: Callable[..., Iterator[list[str]]], input: str, buffer_size: int
    ) -> Iterator[list[str]]:
        if input == "-":
            yield from read(input, buffer_size)
            return
        lines = map(str.strip, read_lines(Path(input)))
        while buffer := list(islice(lines, buffer_size)):
            yield buffer

    patch(interactive, "buffered_read", buffered_read)


def cut_long_lines() -> None:
    """Let ``fairseq-interactive`` translate the beginning of a line that is too long, and say so.

    fairseq ends in a traceback there, so the other lines of the buffer get no answer either; with
    ``--skip-invalid-size-inputs-valid-test`` it silently skips the line.
    """

    def make_batches(
        make: Callable[..., Any],
        lines: list[str],
        cfg: Any,
        task: Any,
        max_positions: Any,
        encode: Callable[[str], str],
    ) -> Any:
        most = [max_positions[0] if isinstance(max_positions, tuple) else max_positions]
        given = [number for number in (*most, cfg.dataset.max_tokens) if number is not None]
        limit = min(given, default=math.inf)

        def cut(line: str) -> str:
            units = tokenize_line(encode(line))
            if len(units) < limit:  # the end of sentence is one more
                return " ".join(units)
            logger.warning(
                f"a line of {len(units):,} units is longer than the model takes; only the first "
                f"{limit - 1:,} are translated: {line:.60}…"
            )
            return " ".join(units[: limit - 1])

        return make(lines, cfg, task, max_positions, cut)

    patch(interactive, "make_batches", make_batches)

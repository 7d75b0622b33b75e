"""Raw lines to tokenised ones, bad training pairs left out, on all cores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from preprocess.bitext import Pair
from preprocess.files import named_when_whole, read_lines, write_whole
from preprocess.filters import Filters
from preprocess.parallel import map_in_order
from preprocess.pipeline import TextPipeline

KEY_BYTES = 8  # of two different pairs among 40 million, some have one key once in 20,000 corpora


@dataclass(frozen=True)
class Tokenisation:
    """How a subset is tokenised; without ``filters`` every pair is kept.

    ``with_keys``: pairs get a key, by which equal ones are found afterwards.
    """

    pipeline: TextPipeline
    filters: Filters | None = None
    with_keys: bool = False

    def __call__(self, pair: Pair) -> tuple[str | None, Pair, bytes]:
        """Why the pair is dropped or None, its tokenised lines, its key."""
        pipeline = self.pipeline
        tokenised = (
            pipeline.tokenise(pair[0], pipeline.source),
            pipeline.tokenise(pair[1], pipeline.target),
        )
        fault = self.filters.fault(tokenised) if self.filters else None
        return fault, tokenised, pair_key(tokenised) if self.with_keys else b""


def pair_key(pair: Pair) -> bytes:
    """Eight bytes that equal pairs have in common."""
    return blake2b("\n".join(pair).encode(), digest_size=KEY_BYTES).digest()


def tokenise_pairs(
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    tokenisation: Tokenisation,
    keys: Path | None = None,
    workers: int = 1,
    total: int | None = None,
) -> dict[str, int]:
    """Tokenise both sides line by line.

    Args:
        inputs: the raw files of the two sides.
        outputs: the files to write for them.
        tokenisation: what is done to a pair.
        keys: file of the keys of the kept pairs.
        workers: processes.
        total: pairs there are, for the progress bar.

    Returns:
        Pairs ``read``, ``kept`` and dropped for each reason.
    """
    pipeline = tokenisation.pipeline
    pipeline.tokenise("", pipeline.source)  # loads the tokenisers once, before workers are forked
    reasons = tokenisation.filters.reasons if tokenisation.filters else []
    counts = {"read": 0, **dict.fromkeys(reasons, 0), "kept": 0}
    pairs = zip(*(read_lines(path) for path in inputs), strict=True)
    with ExitStack() as stack:
        files = [stack.enter_context(write_whole(path)) for path in outputs]
        key_file = keys and stack.enter_context(
            open(stack.enter_context(named_when_whole(keys)), "wb")
        )
        for fault, lines, key in map_in_order(
            tokenisation, pairs, workers, "tokenise", "pairs", total
        ):
            counts["read"] += 1
            counts[fault or "kept"] += 1
            if fault is None:
                for file, line in zip(files, lines, strict=True):
                    file.write(line + "\n")
                if key_file:
                    key_file.write(key)
    return counts

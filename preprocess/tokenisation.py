"""Raw lines to tokenised ones, bad training pairs left out, on all cores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from preprocess.filters import Filters
from preprocess.pairs import Pair
from preprocess.parallel import map_in_order
from tiednmt.files import named_when_whole, write_whole
from tiednmt.text.lines import read_lines
from tiednmt.text.pipeline import TextPipeline
from tiednmt.text.writing import visible

KEY_BYTES = 8  # of two different pairs among 40 million, some have one key once in 20,000 corpora
EXAMPLE_LENGTH = 60  # characters of a side


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


@dataclass
class Tokenised:
    """What came of the pairs of a subset or of a part of it.

    Attributes:
        counts: pairs ``read``, ``kept`` and dropped for each reason.
        examples: how the first pair begins that is dropped for each reason.
        blank: how many pairs are kept with a side of which nothing can be seen.
        first_blank: the number of the first of them, from 1; 0 if there is none.
    """

    counts: dict[str, int]
    examples: dict[str, Pair] = field(default_factory=dict)
    blank: int = 0
    first_blank: int = 0

    def __add__(self, other: Tokenised) -> Tokenised:
        return Tokenised(
            {reason: count + other.counts[reason] for reason, count in self.counts.items()},
            {**other.examples, **self.examples},
            self.blank + other.blank,
            self.first_blank or other.first_blank,
        )


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
) -> dict[str, Any]:
    """Tokenise both sides line by line.

    Args:
        inputs: the raw files of the two sides.
        outputs: the files to write for them.
        tokenisation: what is done to a pair.
        keys: file of the keys of the kept pairs.
        workers: processes.
        total: pairs there are, for the progress bar.

    Returns:
        :class:`Tokenised`, as JSON.
    """
    tokenisation.pipeline.load_tokenisers()  # once, before workers are forked
    reasons = tokenisation.filters.reasons if tokenisation.filters else []
    done = Tokenised({"read": 0, **dict.fromkeys(reasons, 0), "kept": 0})
    with ExitStack() as stack:
        files = [stack.enter_context(write_whole(path)) for path in outputs]
        key_file = keys and stack.enter_context(
            open(stack.enter_context(named_when_whole(keys)), "wb")
        )
        pairs = zip(*(read_lines(path) for path in inputs), strict=True)
        for fault, lines, key in map_in_order(
            tokenisation, pairs, workers, "tokenise", "pairs", total
        ):
            done.counts["read"] += 1
            done.counts[fault or "kept"] += 1
            if fault is None:
                for file, line in zip(files, lines, strict=True):
                    file.write(line + "\n")
                if key_file:
                    key_file.write(key)
                if tokenisation.filters is None and not all(map(visible, lines)):
                    done.blank += 1
                    done.first_blank = done.first_blank or done.counts["read"]
            elif fault not in done.examples:
                done.examples[fault] = (lines[0][:EXAMPLE_LENGTH], lines[1][:EXAMPLE_LENGTH])
    return asdict(done)

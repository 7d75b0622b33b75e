"""Tokenise raw lines on all cores, without bad training pairs."""

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

KEY_BYTES = 8  # of two different pairs among 40 million, some have one key once in 20,000 corpora
EXAMPLE_LENGTH = 60  # characters of a side


@dataclass(frozen=True)
class Tokenisation:
    """How a subset is tokenised.

    If it ``drops``, pairs that the ``filters`` refuse are left out; in held-out sets they are only
    counted. ``with_keys`` gives each pair a key by which equal ones are found afterwards.
    """

    pipeline: TextPipeline
    filters: Filters
    drops: bool = True
    with_keys: bool = False

    def __call__(self, pair: Pair) -> tuple[str | None, Pair, bytes]:
        """Why the filters refuse a pair (None if they do not), its tokenised lines, and its key."""
        pipeline = self.pipeline
        tokenised = (
            pipeline.tokenise(pair[0], pipeline.source),
            pipeline.tokenise(pair[1], pipeline.target),
        )
        return (
            self.filters.fault(tokenised),
            tokenised,
            pair_key(tokenised) if self.with_keys else b"",
        )


@dataclass
class Tokenised:
    """The result of tokenising a subset or a part of it.

    Attributes:
        counts: how many pairs were ``read``, ``kept``, and dropped for each reason.
        examples: for each reason, the beginning of the first pair that was dropped.
        faulty: for each reason, how many pairs were kept although training text would drop them.
        first_faulty: for each reason, the number of the first of these, from 1.
    """

    counts: dict[str, int]
    examples: dict[str, Pair] = field(default_factory=dict)
    faulty: dict[str, int] = field(default_factory=dict)
    first_faulty: dict[str, int] = field(default_factory=dict)

    def __add__(self, other: Tokenised) -> Tokenised:
        """The result of two parts of the training text together."""
        return Tokenised(
            {reason: count + other.counts[reason] for reason, count in self.counts.items()},
            {**other.examples, **self.examples},
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
        total: number of pairs, for the progress bar.

    Returns:
        :class:`Tokenised`, as JSON.
    """
    tokenisation.pipeline.load_tokenisers()  # once, before workers are forked
    reasons = tokenisation.filters.reasons
    dropped = dict.fromkeys(reasons, 0) if tokenisation.drops else {}
    done = Tokenised({"read": 0, **dropped, "kept": 0})
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
            if fault and not tokenisation.drops:
                done.faulty[fault] = done.faulty.get(fault, 0) + 1
                done.first_faulty.setdefault(fault, done.counts["read"])
            elif fault:
                done.counts[fault] += 1
                begin = (lines[0][:EXAMPLE_LENGTH], lines[1][:EXAMPLE_LENGTH])
                done.examples.setdefault(fault, begin)
                continue
            done.counts["kept"] += 1
            for file, line in zip(files, lines, strict=True):
                file.write(line + "\n")
            if key_file:
                key_file.write(key)
    return asdict(done)

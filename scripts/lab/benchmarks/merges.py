"""How long it takes to learn merges from tokenised text, ours or by subword-nmt.

A process of its own that does not count its start:

  python -m scripts.lab.benchmarks.merges ours train.en train.de --merges 8000 --codes codes
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from subword_nmt.learn_bpe import learn_bpe

from preprocess.subwords import TextPart, count_words, learn_codes
from tiednmt.files import write_whole
from tiednmt.options import Range, positive


def ours(texts: Sequence[Path], codes: Path, merges: int, workers: int) -> None:
    """Count the words of the two sides and learn from the counts."""
    source, target = texts
    words = [codes.with_name(f"{codes.name}.{path.name}.words") for path in texts]
    count_words([TextPart((source, target))], words, workers)
    learn_codes(words, codes, merges)


def usual(texts: Sequence[Path], codes: Path, merges: int, workers: int) -> None:
    """As ``subword-nmt learn-bpe`` does, from one file and on one process."""
    del workers
    (text,) = texts
    with text.open(encoding="utf-8") as lines, write_whole(codes) as file:
        learn_bpe(lines, file, merges)


def main() -> None:
    """Print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=("ours", "usual"))
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--codes", type=Path, required=True)
    parser.add_argument("--merges", type=positive, required=True, metavar="N")
    parser.add_argument("--workers", type=Range(1, 1024), default=1, metavar="N")
    args = parser.parse_args()
    learn = {"ours": ours, "usual": usual}[args.side]
    started = time.perf_counter()
    learn(args.texts, args.codes, args.merges, args.workers)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()

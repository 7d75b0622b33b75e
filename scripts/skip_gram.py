"""Train skip-gram word vectors with negative sampling (gensim) on a text, a sentence a line.

Leaves one file that python -m scripts.analyse reads: the input embedding U and the output
embedding V (gensim's syn1neg).

  python -m scripts.skip_gram --text data/ptb/tokenised/train.txt --out runs/ptb.model
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from gensim.models import Word2Vec
from gensim.models.word2vec import LineSentence

from preprocess.files import named_when_whole
from tiednmt.errors import UserError, one_line_errors


@dataclass(frozen=True)
class SkipGram:
    """Options of gensim's ``Word2Vec``; its defaults, but for what says otherwise."""

    vector_size: int = 200  # as the small language models
    window: int = 5
    negative: int = 5
    sample: float = 1e-3
    min_count: int = 1  # the corpora are prepared with the vocabulary they are to have
    epochs: int = 15  # gensim's 5 are for larger text


def train(text: Path, options: SkipGram, seed: int) -> Word2Vec:
    """Train on one thread, so that the same seed gives the same vectors.

    Raises:
        UserError: no such file, or no word that is frequent enough.
    """
    if not text.is_file():
        raise UserError(f"{text}: no such file")
    try:
        return Word2Vec(
            LineSentence(str(text)), sg=1, hs=0, workers=1, seed=seed, **asdict(options)
        )
    except RuntimeError as error:
        raise UserError(f"{text}: {error}") from error


def save(model: Word2Vec, path: Path) -> None:
    """Write gensim's own format, as one file."""
    with named_when_whole(path) as partial:
        model.save(str(partial), sep_limit=1 << 62)


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.skip_gram",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="words and spaces")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default %(default)s")
    for field in fields(SkipGram):
        option = f"--{field.name.replace('_', '-')}"
        kind = type(field.default)
        parser.add_argument(
            option, type=kind, default=field.default, metavar="N", help="default %(default)s"
        )
    args = parser.parse_args(argv)
    options = SkipGram(**{field.name: getattr(args, field.name) for field in fields(SkipGram)})
    save(train(args.text, options, args.seed), args.out)


if __name__ == "__main__":
    main()

"""Skip-gram word vectors with negative sampling (word2vec), trained by gensim."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from gensim.models import Word2Vec
from gensim.models.word2vec import LineSentence

from tiednmt.errors import UserError
from tiednmt.files import named_when_whole
from tiednmt.options import Range, option, positive, require_ranges


@dataclass(frozen=True)
class SkipGram:
    """Options of gensim's ``Word2Vec``; its defaults, but for what says otherwise.

    Raises:
        UserError: a number out of its range.
    """

    # as the small language models
    vector_size: int = option("size of a vector", default=200, type=Range(1, 100_000))
    window: int = option("words to each side", default=5, type=Range(1, 10_000))
    negative: int = option("negative samples per word", default=5, type=Range(1, 1000))
    sample: float = option(
        "threshold above which frequent words are sampled less; 0: none",
        default=1e-3,
        type=Range(0, 1, float),
        metavar="X",
    )
    # the corpora are prepared with the vocabulary they are to have
    min_count: int = option("drop words that are less frequent", default=1, type=positive)
    # gensim's 5 are for larger text
    epochs: int = option("passes over the text", default=15, type=Range(1, 100_000))

    def __post_init__(self) -> None:
        require_ranges(self)


def train(text: Path, options: SkipGram, seed: int) -> Word2Vec:
    """Train on one thread, so that the same seed gives the same vectors.

    Args:
        text: a sentence per line, words separated by spaces.
        options: sizes and epochs.
        seed: of the start and of the samples.

    Raises:
        UserError: no such file, or no word is frequent enough.
    """
    if not text.is_file():
        raise UserError(f"{text}: no such file")
    try:
        return Word2Vec(
            LineSentence(str(text)), sg=1, hs=0, workers=1, seed=seed, **asdict(options)
        )
    except (RuntimeError, UnicodeDecodeError) as error:
        raise UserError(f"{text}: {error}") from error


def save(model: Word2Vec, path: Path) -> None:
    """Write gensim's own format, as one file."""
    with named_when_whole(path) as partial:
        model.save(str(partial), sep_limit=1 << 62)

"""text8: the first 100 million characters of a cleaned Wikipedia (Mahoney), words without lines.

  python -m preprocess.text8 --dest DIR

This downloads the text and prepares it; --raw DIR takes text8.zip, text8.gz or text8 that you
already have.

The split is that of Mikolov et al. (2015), Learning Longer Memory in Recurrent Neural Networks,
whose script many papers use: the first 99 million characters are for training and the last million
for validation. The vocabulary is the words seen more than ten times in the training text, about
44,000. (The cut may divide a word; so does theirs.) There is no published test set: papers that use
this split report perplexity on the last million. Others cut 93.3, 5.7 and 1 million characters and
so keep that million for the test. We could not verify which one Press and Wolf (2017) took.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from string import ascii_lowercase
from typing import IO

from preprocess.command import monolingual_command
from preprocess.download import files_at
from preprocess.files import find_file
from preprocess.monolingual import MonolingualCorpus, SubsetLine
from tiednmt.errors import UserError, resumable_command
from tiednmt.text.lines import open_bytes

URL = "http://mattmahoney.net/dc"
SHA256 = {"text8.zip": "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232"}
CHARACTERS = {"train": 99_000_000, "valid": 1_000_000}
MIN_COUNT = 11

ALPHABET = (ascii_lowercase + " ").encode()
BLOCK_CHARACTERS = 1 << 20
LINE_WORDS = 1000  # the length of an item in the data-bin, of no meaning


def corpus_in(folder: Path, characters: dict[str, int] = CHARACTERS) -> MonolingualCorpus:
    """The corpus whose file lies in ``folder``.

    ``characters``: subset → its length, one after the other in the text.

    Raises:
        UserError: the file is missing.
    """
    path = find_file(folder, "text8.zip", "text8.gz", "text8")
    return MonolingualCorpus(
        name="text8",
        subsets=tuple(characters),
        sources=[path],
        lines=partial(read_lines_of_words, path, characters),
        line_ends=False,
    )


def read_lines_of_words(path: Path, characters: dict[str, int]) -> Iterator[SubsetLine]:
    """Subset and line of 1,000 words, the last line of a subset shorter.

    Raises:
        UserError: the file is not text8.
    """
    with open_bytes(path, "text8" if path.suffix == ".zip" else None) as file:
        for subset, length in characters.items():
            words = _words(path, file, length)
            while line := list(islice(words, LINE_WORDS)):
                yield subset, " ".join(line)
        if file.read(1):
            raise _not_text8(path, f"it has more than {sum(characters.values()):,} characters")


def _words(path: Path, file: IO[bytes], length: int) -> Iterator[str]:
    """The words of the next ``length`` characters."""
    begun = b""
    while length:
        block = file.read(min(length, BLOCK_CHARACTERS))
        if not block:
            raise _not_text8(path, f"{length:,} characters are missing")
        if block.translate(None, ALPHABET):
            raise _not_text8(path, "it has characters other than a to z and space")
        length -= len(block)
        *whole, begun = (begun + block).split(b" ")
        yield from (word.decode() for word in whole if word)
    if begun:
        yield begun.decode()


def _not_text8(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: not text8: {reason}; for other text use preprocess.text")


@resumable_command
def main(argv: list[str] | None = None) -> None:
    """The command line."""
    monolingual_command(
        argv, "text8", __doc__, files_at(URL, SHA256), corpus_in, min_count=MIN_COUNT
    )


if __name__ == "__main__":
    main()

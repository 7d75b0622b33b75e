"""IMDB: film reviews of the Large Movie Review Dataset (Maas et al. 2011), one per line.

  python -m preprocess.imdb --dest DIR

This downloads the archive and prepares it; --raw DIR takes aclImdb_v1.tar.gz that you already have.
The archive is read without unpacking it.

The training text is the reviews of its train folder, including those without a label, in the order
of the archive. The last twentieth by number of each of pos, neg and unsup, 3,750 reviews, is held
out for validation. The test set is the archive's own, 25,000 reviews. HTML line breaks are removed
and the text is tokenised; case is kept. The vocabulary is the 30,000 most frequent words. Press and
Wolf (2017) also report perplexity on IMDB. We could not verify their split, tokenisation and
vocabulary, so figures may not be comparable.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from preprocess.command import monolingual_command
from preprocess.download import files_at
from preprocess.files import find_file
from preprocess.monolingual import SUBSETS, MonolingualCorpus, SubsetLine
from tiednmt.errors import UserError, resumable_command
from tiednmt.text.lines import LONGEST_LINE, decode, open_bytes

URL = "https://ai.stanford.edu/~amaas/data/sentiment"
SHA256 = {"aclImdb_v1.tar.gz": "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"}
HELD_OUT_FROM = {"pos": 11_875, "neg": 11_875, "unsup": 47_500}
VOCABULARY = 30_000

_REVIEW = re.compile(r"aclImdb/(train|test)/(pos|neg|unsup)/(\d{1,9})_\d+\.txt")
_LINE_BREAK = re.compile(r"<br ?/?>")


def corpus_in(folder: Path) -> MonolingualCorpus:
    """The corpus whose archive lies in ``folder``.

    Raises:
        UserError: the archive is missing.
    """
    path = find_file(folder, *SHA256)
    return MonolingualCorpus(
        name="imdb",
        subsets=SUBSETS,
        sources=[path],
        lines=partial(read_reviews, path),
        language="en",
    )


def read_reviews(path: Path) -> Iterator[SubsetLine]:
    """Subset and text of each review, in the order of the archive.

    Raises:
        UserError: the archive is damaged or a review is not UTF-8 or of more than
            ``LONGEST_LINE`` bytes.
    """
    with open_bytes(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
        while member := archive.next():
            archive.members = []  # type: ignore[attr-defined]  # it would keep 100,000 of them
            review = member.isreg() and _REVIEW.fullmatch(member.name)
            content = review and archive.extractfile(member)
            if review and content:
                if member.size > LONGEST_LINE:
                    raise UserError(
                        f"{path}, {member.name}: a review of {member.size:,} bytes; get the"
                        " archive again"
                    )
                text = decode(content.read(), f"{path}, {member.name}")
                yield _subset(*review.groups()), _LINE_BREAK.sub(" ", text)


def _subset(folder: str, label: str, number: str) -> str:
    held_out = folder == "train" and int(number) >= HELD_OUT_FROM[label]
    return "valid" if held_out else folder


@resumable_command
def main(argv: list[str] | None = None) -> None:
    """The command line."""
    monolingual_command(
        argv, "imdb", __doc__, files_at(URL, SHA256), corpus_in, vocabulary=VOCABULARY
    )


if __name__ == "__main__":
    main()

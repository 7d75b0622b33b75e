"""IWSLT14 (Cettolo et al. 2014), German and English: TED talks, about 174,000 pairs.

  python -m preprocess.iwslt14 --dest DIR

This downloads the archive and prepares it; --raw DIR takes de-en.tgz that you already have. As
usual, every 23rd pair of the training text is validation text, and the test set is dev2010, dev2012
of TEDx and tst2010 to tst2012 (6,750 sentences). The usual scripts drop long and uneven pairs
before they count to 23, so their validation set has other sentences. They also lower-case the text,
which this command does not; scores of lower-cased text are not comparable.

We know of no published hash of the archive. The first download's hash is recorded in
DIR/download/SHA256SUMS, and later downloads must match it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from preprocess.archives import Published, PublishedCorpus, with_reverses
from preprocess.command import archive_command
from preprocess.download import Download
from preprocess.pairs import Pair, TextFile, line_by_line, segment_by_segment
from tiednmt.errors import UserError, resumable_command

ARCHIVE = Download("http://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz")
HELD_OUT_EVERY = 23
TEST_SETS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")

_TAGGED = re.compile(r"\s*<(/?\w+)[^>]*>(?:(.*?)</\1>)?\s*")
_TEXT = ("title", "description")
_ABOUT = ("url", "talkid", "keywords", "speaker", "reviewer", "translator", "doc", "/doc")


def read_talks(source: TextFile, target: TextFile, valid: bool) -> Iterator[Pair]:
    """The training pairs, or those of them that validate.

    Raises:
        UserError: the sides have different tags in one line.
    """
    number = 0
    for line, pair in enumerate(line_by_line(source, target), start=1):
        (tag, one), (other_tag, other) = map(_untagged, pair)
        if tag != other_tag:
            raise UserError(
                f"{source}, line {line}, is {tag or 'text'} where {target} has"
                f" {other_tag or 'text'}: a line is missing on one side; get the right files"
            )
        if tag not in _ABOUT:
            number += 1
            if (number % HELD_OUT_EVERY == 0) == valid:
                yield one, other


def _untagged(line: str) -> tuple[str | None, str]:
    """The tag of a line, None of a line of talk, and the text that it has."""
    tagged = _TAGGED.fullmatch(line)
    if tagged and tagged[1] in _TEXT + _ABOUT:
        return tagged[1], (tagged[2] or "").strip()
    return None, line.strip()


TALKS = "de-en/train.tags.de-en.{language}"
CORPUS = PublishedCorpus(
    "iwslt14",
    with_reverses(
        {
            "de-en": {
                "train": [Published(ARCHIVE, TALKS, partial(read_talks, valid=False))],
                "valid": [Published(ARCHIVE, TALKS, partial(read_talks, valid=True))],
                "test": [
                    Published(
                        ARCHIVE, f"de-en/IWSLT14.{name}.de-en.{{language}}.xml", segment_by_segment
                    )
                    for name in TEST_SETS
                ],
            }
        }
    ),
)


@resumable_command
def main(argv: list[str] | None = None) -> None:
    """The command line."""
    archive_command(
        argv,
        CORPUS,
        __doc__,
        merges=10_000,
        max_length=175,
        max_ratio=1.5,
    )


if __name__ == "__main__":
    main()

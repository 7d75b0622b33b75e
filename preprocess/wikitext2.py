"""WikiText-2: two million words of good Wikipedia articles, rare ones <unk> (Merity et al. 2017).

  python -m preprocess.wikitext2 --dest DIR

This downloads the archive and prepares it; --raw DIR takes wikitext-2-v1.zip or
wiki.{train,valid,test}.tokens that you already have. As usual, the end of every line is a token,
also of an empty one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from preprocess.command import monolingual_command
from preprocess.download import files_at
from preprocess.files import find_file
from preprocess.monolingual import (
    SUBSETS,
    MonolingualCorpus,
    SubsetLine,
    corpus_of_files,
)
from tiednmt.errors import resumable_command
from tiednmt.text.lines import read_lines

URL = "https://wikitext.smerity.com"  # of the corpus' author; the address in its paper is gone
ARCHIVE = "wikitext-2-v1.zip"
SHA256 = {ARCHIVE: "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c"}
FILES = {subset: f"wiki.{subset}.tokens" for subset in SUBSETS}


def corpus_in(folder: Path) -> MonolingualCorpus:
    """The corpus whose archive, or whose files out of it, lie in ``folder``.

    Raises:
        UserError: there is neither.
    """
    if find_file(folder, ARCHIVE, FILES["train"]).name != ARCHIVE:
        return corpus_of_files("wikitext2", {s: [folder / name] for s, name in FILES.items()})
    return MonolingualCorpus(
        name="wikitext2",
        subsets=SUBSETS,
        sources=[folder / ARCHIVE],
        lines=partial(read_archive, folder / ARCHIVE),
    )


def read_archive(path: Path) -> Iterator[SubsetLine]:
    """Subset and line of the archive's files.

    Raises:
        UserError: the archive is damaged.
    """
    for subset, name in FILES.items():
        for line in read_lines(path, member=f"wikitext-2/{name}"):
            yield subset, line


@resumable_command
def main(argv: list[str] | None = None) -> None:
    """The command line."""
    monolingual_command(argv, "wikitext2", __doc__, files_at(URL, SHA256), corpus_in)


if __name__ == "__main__":
    main()

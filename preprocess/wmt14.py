"""WMT14 (Bojar et al. 2014), English with German or French: the corpora of the paper.

  python -m preprocess.wmt14 --pair en-fr --dest DIR

This downloads the archives and prepares them; --raw DIR takes archives that you already have.
Training text: Europarl v7, Common Crawl, News Commentary v9 and for French UN and 10⁹ (4.5 and 40.8
million pairs). newstest2013 validates; newstest2014, all 3,003 sentences (wmt14/full of sacreBLEU),
is the test set.

The defaults are the paper's 89,500 joint merges without a vocabulary threshold, sentences of at
most 50 tokens as in dl4mt, identical pairs once, and 16 parts. We know of no published hash of UN
and 10⁹. The hash of their first download is recorded in DIR/download/SHA256SUMS, and later
downloads must match it.
"""

from __future__ import annotations

from preprocess import wmt
from preprocess.archives import Published, PublishedCorpus, with_reverses
from preprocess.command import archive_command
from preprocess.download import Download
from preprocess.pairs import segment_by_segment
from tiednmt.errors import resumable_command

# SHA-256: from the checksums of TensorFlow Datasets; MD5: from sacreBLEU
NEWS_COMMENTARY = Download(
    "http://www.statmt.org/wmt14/training-parallel-nc-v9.tgz",
    "cb8953f292298e6877ae433c98912b927cb0766b303f4540512ddd286c748485",
)
UN = Download("http://www.statmt.org/wmt13/training-parallel-un.tgz")
GIGA = Download("http://www.statmt.org/wmt10/training-giga-fren.tar")
TEST = Download("http://www.statmt.org/wmt14/test-full.tgz", "a8cd784e006feb32ac6f3d9ec7eb389a")

TRAINING = (
    *wmt.TRAINING,
    Published(NEWS_COMMENTARY, "training/news-commentary-v9.{other}-en.{language}"),
)
FRENCH_TRAINING = (
    *TRAINING,
    Published(UN, "un/undoc.2000.{other}-en.{language}"),
    Published(GIGA, "giga-fren.release2.fixed.{language}.gz"),
)
HELD_OUT = {
    "valid": [Published(wmt.DEVELOPMENT, "dev/newstest2013.{language}")],
    "newstest2014": [
        Published(
            TEST, "test-full/newstest2014-{other}en-{role}.{language}.sgm", segment_by_segment
        )
    ],
}
CORPUS = PublishedCorpus(
    "wmt14",
    with_reverses(
        {
            "en-de": {"train": TRAINING, **HELD_OUT},
            "en-fr": {"train": FRENCH_TRAINING, **HELD_OUT},
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
        merges=89_500,
        vocabulary_threshold=0,
        max_length=50,
        max_ratio=3.0,
        check_script=True,
        deduplicate=True,
        parts=16,
    )


if __name__ == "__main__":
    main()

"""WMT17 (Bojar et al. 2017), English and German, as current benchmarks use it.

  python -m preprocess.wmt17 --dest DIR

This downloads the archives and prepares them; --raw DIR takes archives that you already have.
Training text: Europarl v7, Common Crawl, News Commentary v12 and Rapid 2016 (5.9 million pairs);
newstest2016 validates, newstest2017 (wmt17 of sacreBLEU) is the test set. The defaults are 32,000
joint merges and identical pairs once.
"""

from __future__ import annotations

from preprocess import wmt
from preprocess.archives import Published, PublishedCorpus, with_reverses
from preprocess.command import archive_command
from preprocess.download import Download
from preprocess.pairs import segment_by_segment
from tiednmt.errors import resumable_command

# SHA-256: from the checksums of TensorFlow Datasets; SHA-1: from GluonNLP; MD5: from sacreBLEU
NEWS_COMMENTARY = Download(
    "http://data.statmt.org/wmt17/translation-task/training-parallel-nc-v12.tgz",
    "2b45f30ef1d550d302fd17dd3a5cbe19134ccc4c2cf50c2dae534aee600101a2",
)
RAPID = Download(
    "http://data.statmt.org/wmt17/translation-task/rapid2016.tgz",
    "8b173ce0bc77f2a1a57c8134143e3b5ae228a6e2",
)
TEST = Download(
    "http://data.statmt.org/wmt17/translation-task/test.tgz", "86a1724c276004aa25455ae2a04cef26"
)

SUBSETS = {
    "train": (
        *wmt.TRAINING,
        Published(NEWS_COMMENTARY, "training/news-commentary-v12.{other}-en.{language}"),
        Published(RAPID, "rapid2016.{other}-en.{language}"),
    ),
    "valid": [
        Published(
            wmt.DEVELOPMENT,
            {
                "de": "dev/newstest2016-deen-src.de.sgm",
                "en": "dev/newstest2016-deen-ref.en.sgm",
            },
            segment_by_segment,
        )
    ],
    "newstest2017": [
        Published(
            TEST, "test/newstest2017-{source}{target}-{role}.{language}.sgm", segment_by_segment
        )
    ],
}
CORPUS = PublishedCorpus("wmt17", with_reverses({"en-de": SUBSETS}))


@resumable_command
def main(argv: list[str] | None = None) -> None:
    """The command line."""
    archive_command(
        argv,
        CORPUS,
        __doc__,
        merges=32_000,
        vocabulary_threshold=50,
        max_ratio=3.0,
        check_script=True,
        deduplicate=True,
        parts=4,
    )


if __name__ == "__main__":
    main()

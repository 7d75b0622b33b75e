"""What the corpora of several years of WMT share: archives of training text and held-out sets."""

from __future__ import annotations

from preprocess.archives import Published
from preprocess.download import Download

# SHA-256: from the checksums of TensorFlow Datasets
EUROPARL = Download(
    "http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz",
    "0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
)
COMMON_CRAWL = Download(
    "http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz",
    "c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
)
DEVELOPMENT = Download(
    "http://data.statmt.org/wmt19/translation-task/dev.tgz",  # with those of the years before
    "7a7deccf82ebb05ba508dba5eb21356492224e8f630ec4f992132b029b4b25e7",
)

TRAINING = (
    Published(EUROPARL, "training/europarl-v7.{other}-en.{language}"),
    Published(COMMON_CRAWL, "commoncrawl.{other}-en.{language}"),
)

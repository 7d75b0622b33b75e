"""Multi30k, task 1: image captions in Czech, English, French, German (Elliott et al. 2016, 2017).

  python -m preprocess.multi30k --pair en-de --dest DIR

This downloads the raw text of any two of the languages and prepares it; --raw DIR takes files that
you already have. The test set of 2017 has no Czech side.
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

from preprocess.command import parallel_command
from preprocess.corpus import Corpus, corpus_of_files
from preprocess.download import Download, files_at
from preprocess.files import named_file
from tiednmt.errors import resumable_command

LANGUAGES = ("en", "de", "fr", "cs")
PAIRS = [f"{source}-{target}" for source, target in permutations(LANGUAGES, 2)]
URL = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
SUBSETS = {
    "train": "train",
    "valid": "val",
    "test_2016_flickr": "test_2016_flickr",
    "test_2017_flickr": "test_2017_flickr",
}
SHA256 = {
    "test_2016_flickr.cs.gz": "200a4a74cc9560f051924abb9803be008d1908d77f747e9141aeb86dfd2797f1",
    "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test_2016_flickr.fr.gz": "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90",
    "test_2017_flickr.de.gz": "a2c89666db00c495cd8513b9d708d5a3acc205d7de312ef2bf5fb7ebc1540aee",
    "test_2017_flickr.en.gz": "76a444ee25172e72695cddb13ae4a3bda59430617be88e0bb46b60504f054074",
    "test_2017_flickr.fr.gz": "3ba671ceb2299f3304ffafefea7a833d08632fbaf0ba18546f8a2ec2391af496",
    "train.cs.gz": "a65adb8b32e3bc664f21ecba7a6e7f6950fd1f405e135f7c312faabdb6255077",
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "train.fr.gz": "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c",
    "val.cs.gz": "b63226e05c4bd5dd6a42897d74b86a1b9d2c31498252c572b1ea7f7996927fcc",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "val.fr.gz": "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9",
}


def corpus_in(folder: Path, pair: str) -> Corpus:
    """The corpus whose files, gzipped or not, lie in ``folder``."""
    source, target = pair.split("-")
    return corpus_of_files(
        "multi30k",
        source,
        target,
        {
            subset: {
                code: named_file(folder, f"{stem}.{code}.gz", f"{stem}.{code}")
                for code in (source, target)
            }
            for subset, stem in _stems(pair).items()
        },
    )


def downloads(pair: str) -> list[Download]:
    """The files of a pair."""
    names = [f"{stem}.{code}.gz" for stem in _stems(pair).values() for code in pair.split("-")]
    return files_at(URL, {name: SHA256[name] for name in names})


def _stems(pair: str) -> dict[str, str]:
    """Subset → the stem of its files' names, of those that have both languages."""
    return {
        subset: stem
        for subset, stem in SUBSETS.items()
        if all(f"{stem}.{code}.gz" in SHA256 for code in pair.split("-"))
    }


@resumable_command
def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parallel_command(argv, "multi30k", __doc__, PAIRS, downloads, corpus_in)


if __name__ == "__main__":
    main()

"""Multi30k, task 1: image captions in English, German and French (Elliott et al. 2016, 2017).

``python -m preprocess.multi30k --pair en-de --dest DIR`` downloads the raw text and prepares it;
``--raw DIR`` takes files that are there already.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from preprocess.corpus import Corpus, add_arguments, options_from, prepare
from tiednmt.errors import UserError, one_line_errors

PAIRS = ("en-de", "de-en", "en-fr", "fr-en")
SUBSETS = {
    "train": "train",
    "valid": "val",
    "test_2016_flickr": "test_2016_flickr",
    "test_2017_flickr": "test_2017_flickr",
}


def corpus_in(folder: Path, pair: str) -> Corpus:
    """The corpus whose files, gzipped or not, lie in ``folder``.

    :raises UserError: where the pair is unknown or a file is missing.
    """
    source, target = _languages(pair)
    return Corpus(
        name="multi30k",
        source=source,
        target=target,
        files={
            subset: {code: _find(folder, f"{stem}.{code}") for code in (source, target)}
            for subset, stem in SUBSETS.items()
        },
    )


def _languages(pair: str) -> tuple[str, str]:
    if pair not in PAIRS:
        raise UserError(f"--pair {pair}: unknown pair; choose one of {', '.join(PAIRS)}")
    source, target = pair.split("-")
    return source, target


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.exists():
            return path
    raise UserError(f"{folder / name}.gz: no such file, nor {name}; --raw must hold both sides")


@one_line_errors
def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m preprocess.multi30k", description=__doc__)
    parser.add_argument("--pair", required=True, metavar="PAIR", help=", ".join(PAIRS))
    parser.add_argument("--raw", type=Path, metavar="DIR", help="raw files that are there already")
    add_arguments(parser)
    args = parser.parse_args(argv)
    options = options_from(args)
    prepare(corpus_in(args.raw, args.pair), args.dest, options)


if __name__ == "__main__":
    main()

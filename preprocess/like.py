r"""Prepare your own text for a trained model: in its units, with its dictionary.

  python -m preprocess.like --model DIR --train a.en a.cs --valid v.en v.cs \
      [--test NAME=t.en,t.cs]… --dest NEW [--tag '<2cs>']

DIR is a prepared folder, or one that tiednmt vocabulary wrote. Training pairs with an empty side
are dropped; nothing else is filtered. --tag puts a unit of the model before each source sentence,
such as the language to translate it to.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from preprocess.binarise import SHARED_UNITS, DataBin, binarise_pairs
from preprocess.command import parser_of
from tiednmt.errors import UserError, one_line_errors
from tiednmt.files import write_json, write_whole
from tiednmt.options import Range
from tiednmt.text.lines import read_lines
from tiednmt.text.manifest import MANIFEST, data_bins, read_manifest
from tiednmt.text.pipeline import TextPipeline


def prepare_like(
    model: Path, dest: Path, texts: dict[str, tuple[Path, Path]], tag: str = "", workers: int = 1
) -> None:
    """Segment and binarise pairs of raw files as a prepared folder has it.

    Args:
        model: the folder, whose languages have one joint dictionary.
        dest: a new folder.
        texts: by name, the source and the target file; ``train`` and ``valid`` are among them.
        tag: a unit before each source sentence.
        workers: processes.

    Raises:
        UserError: a file is missing, two do not match, or the dictionaries are not joint.
    """
    if dest.exists():
        raise UserError(f"--dest {dest}: already exists")
    pipeline = TextPipeline.load(model)
    languages = pipeline.languages
    dictionaries = [data_bins(model)[0] / f"dict.{language}.txt" for language in languages]
    if dictionaries[0].read_bytes() != dictionaries[1].read_bytes():
        raise UserError(
            f"{model}: has one dictionary per language; segment the text with its bpe folder "
            "and use fairseq-preprocess --srcdict --tgtdict"
        )
    known = {line.rsplit(" ", 1)[0] for line in read_lines(dictionaries[0])}
    if tag and tag not in known:
        raise UserError(f"--tag {tag}: is not a unit of the model; add it with --symbols")
    partial = dest.with_name(dest.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _fill(partial, model, pipeline, dictionaries[0], texts, tag, workers)
        os.replace(partial, dest)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _fill(
    dest: Path,
    model: Path,
    pipeline: TextPipeline,
    dictionary: Path,
    texts: dict[str, tuple[Path, Path]],
    tag: str,
    workers: int,
) -> None:
    languages = pipeline.languages
    known = {line.rsplit(" ", 1)[0] for line in read_lines(dictionary)}
    seen: list[set[str]] = [set(), set()]
    for name, files in texts.items():
        sides = [list(read_lines(file)) for file in files]
        if len(sides[0]) != len(sides[1]):
            raise UserError(f"{files[0]} has {len(sides[0]):,} lines, {files[1]} {len(sides[1]):,}")
        pairs = list(zip(*sides, strict=True))
        if name == "train":
            pairs = [pair for pair in pairs if all(map(str.strip, pair))]
        for side, language in enumerate(languages):
            lines = [pair[side] for pair in pairs]
            units = [pipeline.encode(line, language) for line in lines]
            seen[side].update(unit for line in units for unit in line.split())
            if tag and side == 0:
                units = [f"{tag} {line}" for line in units]
            for folder, written in (("raw", lines), ("bpe", units)):
                with write_whole(dest / folder / f"{name}.{language}") as file:
                    file.writelines(f"{line}\n" for line in written)
    for path in (model / "bpe").iterdir():
        if path.name.startswith(("codes", "sentencepiece", "vocab.", "dict")):
            shutil.copyfile(path, dest / "bpe" / path.name)
    with write_whole(dest / "bpe" / SHARED_UNITS) as file:
        file.writelines(f"{unit}\n" for unit in sorted(seen[0] & seen[1] & known))
    splits = _splits(texts)
    data_bin = DataBin(
        dest / "data-bin",
        languages,
        {split: dest / "bpe" / name for name, split in splits.items()},
    )
    binarise_pairs(data_bin, dictionary, dest / "bpe" / SHARED_UNITS, workers)
    manifest = read_manifest(model)
    subsets = {name: split for name, split in splits.items() if name != "train"}
    gone = ("files", "counts", "vocabulary", "overlap", "originals", "references")
    kept = {key: value for key, value in manifest.items() if key not in gone}
    write_json(dest / MANIFEST, {**kept, "corpus": "like", "subsets": subsets})


def _splits(texts: Sequence[str] | dict[str, tuple[Path, Path]]) -> dict[str, str]:
    """The name of each text → fairseq's name of its split."""
    tests = [name for name in texts if name not in ("train", "valid")]
    numbered = {name: f"test{number or ''}" for number, name in enumerate(tests)}
    return {name: numbered.get(name, name) for name in texts}


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = parser_of("like", __doc__)
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the model, with its units",
    )
    for subset in ("train", "valid"):
        parser.add_argument(
            f"--{subset}",
            type=Path,
            nargs=2,
            required=True,
            metavar="FILE",
            help=f"source and target text of the {subset} set",
        )
    parser.add_argument(
        "--test",
        action="append",
        default=[],
        metavar="NAME=FILE,FILE",
        help="test set; may be repeated",
    )
    parser.add_argument(
        "--dest", type=Path, required=True, metavar="NEW", help="new folder to write"
    )
    parser.add_argument(
        "--tag", default="", metavar="UNIT", help="unit before each source sentence"
    )
    parser.add_argument(
        "--workers", type=Range(1, 1024), default=1, metavar="N", help="number of processes"
    )
    args = parser.parse_args(argv)
    texts = {"train": _pair(args.train), "valid": _pair(args.valid)}
    for text in args.test:
        name, equals, files = text.partition("=")
        paths = [Path(file) for file in files.split(",")]
        if not equals or len(paths) != 2:
            raise UserError(f"--test {text}: write NAME=FILE,FILE")
        texts[name] = _pair(paths)
    prepare_like(args.model, args.dest, texts, args.tag, args.workers)
    print(f"{args.dest / 'data-bin'}: for fairseq-train --finetune-from-model")


def _pair(paths: Sequence[Path]) -> tuple[Path, Path]:
    return paths[0], paths[1]


if __name__ == "__main__":
    main()

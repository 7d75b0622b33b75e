"""The units of a language pair, counted: in a prepared folder, a data-bin or two texts."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from fairseq.data import Dictionary, data_utils

from preprocess.advice import Pair
from preprocess.corpus import Options
from preprocess.overlap import Overlap
from preprocess.subwords import (
    TextPart,
    count_words,
    learn_sentencepiece,
    learn_subword_nmt,
    write_dictionary,
)
from preprocess.vocabulary import vocabulary_sizes
from tiednmt.errors import UserError
from tiednmt.files import write_whole
from tiednmt.frequency import occurrences
from tiednmt.text.lines import read_lines
from tiednmt.text.manifest import MANIFEST, data_bins, read_manifest
from tiednmt.text.pipeline import BPE, TextPipeline, TextSettings, segmentation_for
from tiednmt.text.subwords import looks_segmented

LOOKED_AT = 1000  # lines that tell whether a text is segmented

Counts = Mapping[str, int]  # by unit


def pair_in(paths: Sequence[Path], merges: int = Options.merges) -> tuple[Pair, Overlap]:
    """The pair of languages there, and what they have in common.

    Args:
        paths: a prepared folder, a data-bin, or two text files: source and target, raw or
            segmented already. Raw text is segmented as ``preprocess`` does by default.
        merges: of that segmentation.

    Raises:
        UserError: they are none of these, or a text of which nothing can be learnt.
    """
    if len(paths) == 2:
        return _in_texts(paths[0], paths[1], merges)
    if len(paths) > 2 or not paths[0].is_dir():
        raise UserError(
            f"--advise {' '.join(map(str, paths))}: give a prepared folder, a data-bin, or two "
            "text files: source and target"
        )
    return _in_folder(paths[0])


# --- folders -----------------------------------------------------------------------------------


def _in_folder(folder: Path) -> tuple[Pair, Overlap]:
    if not (folder / MANIFEST).is_file():
        return _in_data_bins([folder])
    manifest = read_manifest(folder)
    if "overlap" not in manifest:  # prepared by an earlier version
        return _in_data_bins(data_bins(folder))
    overlap = Overlap.from_json(manifest["overlap"])
    name = f"{manifest['source']}-{manifest['target']}"
    return Pair.of(name, manifest["vocabulary"], overlap), overlap


def _in_data_bins(folders: Sequence[Path]) -> tuple[Pair, Overlap]:
    """The pair, counted in the training text of data-bins that share their dictionaries."""
    languages = data_utils.infer_language_pair(str(folders[0]))
    if None in languages:
        raise UserError(
            f"--advise {folders[0]}: neither a prepared folder nor a data-bin of two languages"
        )
    name = "-".join(languages)
    counts = [_counted(folders, name, language) for language in languages]
    return _pair(name, *counts)


def _counted(folders: Sequence[Path], pair: str, language: str) -> Counts:
    dictionary = Dictionary.load(str(folders[0] / f"dict.{language}.txt"))
    counts: Counter[str] = Counter()
    for folder in folders:
        text = data_utils.load_indexed_dataset(str(folder / f"train.{pair}.{language}"), dictionary)
        if text is None:
            raise UserError(f"{folder}: holds no training text of {pair}")
        found = occurrences(text, len(dictionary))
        for row in found.nonzero()[0]:
            if row >= dictionary.nspecial:
                counts[dictionary[int(row)]] += int(found[row])
    return counts


def _pair(name: str, source: Counts, target: Counts) -> tuple[Pair, Overlap]:
    overlap = Overlap.of(source, target)
    return Pair.of(name, vocabulary_sizes({*source}, {*target}), overlap), overlap


# --- texts -------------------------------------------------------------------------------------


def _in_texts(source: Path, target: Path, merges: int) -> tuple[Pair, Overlap]:
    languages = _languages(source, target)
    name = "-".join(languages)
    if _is_segmented(source) and _is_segmented(target):
        return _pair(name, _units(source), _units(target))
    segmentation = segmentation_for(*languages)
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        settings = TextSettings(*languages, segmentation, Options.vocabulary_threshold)
        pipeline = TextPipeline(settings, folder)
        part = TextPart((folder / "source", folder / "target"))
        for path, language, tokenised in zip((source, target), languages, part.sides, strict=True):
            with write_whole(tokenised) as file:
                for line in read_lines(path):
                    file.write(pipeline.tokenise(line, language) + "\n")
        words = [folder / f"words.{side}" for side in (0, 1)]
        count_words([part], words, workers=1)
        given = (words, folder, languages, merges, 1)
        if segmentation == BPE:
            learn_subword_nmt(*given)
        else:
            learn_sentencepiece([part], *given, near=True)
        dictionary, shared = folder / "dict.txt", folder / "shared.txt"
        sizes = write_dictionary(words, dictionary, shared, pipeline, workers=1)
    overlap = Overlap.from_json(sizes.pop("overlap"))
    return Pair.of(name, sizes, overlap), overlap


def _languages(source: Path, target: Path) -> tuple[str, str]:
    """The parts in which the files' names differ (``train.en``, ``train.de.txt.gz``)."""
    names = (path.name.split(".")[::-1] for path in (source, target))
    differing = ((one, other) for one, other in zip(*names, strict=False) if one != other)
    return next(differing, ("source", "target"))


def _is_segmented(path: Path) -> bool:
    """Whether a text contains subword markers."""
    return looks_segmented(list(islice(read_lines(path), LOOKED_AT)))


def _units(path: Path) -> Counts:
    return Counter(unit for line in read_lines(path) for unit in line.split())

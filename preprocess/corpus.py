"""A parallel corpus, from raw files to everything that training and scoring need.

:func:`prepare` runs the stages: read, tokenise, learn, apply, binarise. A corpus is a file beside
this one that says where its text comes from and calls it.

A large training text is dealt out to parts, pair by pair in turn, so that each is a fair sample
of the whole. A part is read, tokenised, segmented and made its own data-bin
(``data-bin/shard0``, …), which bounds what is lost by an interruption, and parts can be divided
among machines. Memory depends neither on the size of the text nor on that of a part: at most
about 2 GB, for learning merges from the million most frequent words, and 300 MB per process.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from textwrap import fill
from typing import Any

from tqdm import tqdm

from preprocess.advice import Pair, advise, what_is_shared
from preprocess.binarise import SHARED_UNITS, DataBin, binarise_pairs
from preprocess.bitext import Bitext, TextFile, line_by_line
from preprocess.duplicates import mark_duplicates
from preprocess.files import write_whole
from preprocess.filters import Filters
from preprocess.manifest import data_bins, package_version, part_folder, write_manifest
from preprocess.options import CommonOptions, option
from preprocess.overlap import Overlap
from preprocess.pipeline import SUBWORD_METHODS, TextPipeline
from preprocess.stages import Stage, Stages, WorkShard
from preprocess.subwords import (
    TextPart,
    apply_pairs,
    count_words,
    learn_sentencepiece,
    learn_subword_nmt,
    write_dictionary,
)
from preprocess.tokenisation import Tokenisation, tokenise_pairs
from preprocess.vocabulary import report
from tiednmt.errors import UserError

READ, TOKENISE, LEARN, ENCODE, JOIN = STEPS = ("read", "tokenise", "learn", "encode", "join")
DIVIDED_STEPS = (TOKENISE, ENCODE)


@dataclass(frozen=True)
class Corpus:
    """Where the raw text of a language pair lies.

    ``subsets``: name → bitexts, one after the other. ``train`` and ``valid`` must be there; every
    other subset is a test set, in the order given.
    """

    name: str
    source: str
    target: str
    subsets: dict[str, tuple[Bitext, ...]]

    def paths(self, subset: str) -> list[Path]:
        """The files that hold a subset."""
        paths = chain.from_iterable(bitext.paths for bitext in self.subsets[subset])
        return list(dict.fromkeys(paths))


def corpus_of_files(
    name: str, source: str, target: str, files: dict[str, dict[str, Path]]
) -> Corpus:
    """A corpus whose subsets have one text file per language, plain or ``.gz``, line by line.

    ``files``: subset → language → path.
    """
    return Corpus(
        name,
        source,
        target,
        {
            subset: (Bitext(TextFile(paths[source]), TextFile(paths[target]), line_by_line),)
            for subset, paths in files.items()
        },
    )


@dataclass(frozen=True)
class Options(CommonOptions):
    """How a corpus is prepared. The defaults suit a corpus of some tens of thousands of pairs.

    8,000 merges give a joint vocabulary of about as many types, each seen often enough to learn;
    a larger corpus affords 30,000 and more. A unit seen fewer than ``vocabulary_threshold`` times
    in a language is split further there: it is mostly a word of the other language, and its
    embedding would be trained on next to nothing. ``max_length`` counts tokens before subword
    segmentation, ``max_ratio`` bounds the longer side of a pair over the shorter. See
    :class:`preprocess.filters.Filters` for ``check_script``; ``deduplicate`` keeps the first of
    equal training pairs.
    """

    bpe: str = option(
        SUBWORD_METHODS[0],
        f"subword segmentation: {' or '.join(SUBWORD_METHODS)} (default: %(default)s)",
        metavar="METHOD",
    )
    merges: int = option(8000, "joint merges, or types with sentencepiece (default: %(default)s)")
    vocabulary_threshold: int = option(
        5, "split units a language has fewer times than this (default: %(default)s)"
    )
    max_length: int = option(
        100, "drop training pairs with more tokens on a side (default: %(default)s)"
    )
    max_ratio: float = option(
        5.0,
        "drop training pairs whose lengths differ by more (default: %(default)s)",
        metavar="R",
    )
    check_script: bool = option(
        False, "drop training pairs with a side mostly in letters that its language does not use"
    )
    deduplicate: bool = option(False, "keep one of equal training pairs")
    parts: int = option(
        1,
        "parts that the training text is dealt out to, each a data-bin (default: %(default)s)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bpe not in SUBWORD_METHODS:
            raise UserError(f"--bpe {self.bpe}: choose one of {', '.join(SUBWORD_METHODS)}")
        self.require_at_least(1, "merges", "max_length", "max_ratio", "parts")
        self.require_at_least(0, "vocabulary_threshold")


def reads(share: WorkShard) -> bool:
    """Whether the raw files are needed for this share of the work."""
    return share.step in (None, READ)


def prepare(corpus: Corpus, dest: Path, options: Options, share: WorkShard | None = None) -> None:
    """Fill ``dest`` from the raw files and print the vocabulary report.

    Stages that are up to date are skipped; killed at any moment and called again, it leaves the
    same bytes, in however many shares. Without ``share`` all is done.

    Raises:
        UserError: where a file is bad, the folder cannot be written, nothing is left to train on or
            another share has not done what this one needs.
    """
    share = share or WorkShard()
    _check(corpus, dest, options, share)
    stages = Stages(dest)
    plan = _Plan(corpus, stages, options)
    stages.run_shard(plan.stages, share)
    if share.step not in (None, JOIN):
        return
    files = stages.finish(plan.stages)
    vocabulary = dict(stages.result("dictionary"))
    overlap = vocabulary.pop("overlap", None)  # which folders of earlier versions have not
    print(report(corpus.source, corpus.target, vocabulary))
    if overlap:
        print(f"\n{_advice(corpus, dest, vocabulary, Overlap.from_json(overlap))}")
    print(f"\nfairseq-train {os.pathsep.join(map(str, data_bins(dest)))}")
    write_manifest(
        dest,
        {
            "corpus": corpus.name,
            "source": corpus.source,
            "target": corpus.target,
            "subsets": {name: split for name, split in plan.splits.items() if name != "train"},
            "options": options.of_content(),
            "originals": plan.originals(),
            "counts": plan.counts(),
            "vocabulary": vocabulary,
            **({"overlap": overlap} if overlap else {}),
        },
        packages=("fairseq", "sacremoses", "subword-nmt", "sentencepiece"),
        files=files,
    )


def _advice(corpus: Corpus, dest: Path, vocabulary: Mapping[str, int], overlap: Overlap) -> str:
    """What the languages have in common, and which tying fits them by that."""
    pair = Pair.of(f"{corpus.source}-{corpus.target}", vocabulary, overlap)
    advice = advise(pair)
    texts = [what_is_shared(pair, overlap), f"By this {advice} fits. {' '.join(advice.reasons)}"]
    lines = [fill(text, width=88, break_on_hyphens=False) for text in texts]
    command = f"python -m scripts.analyse --advise {shlex.quote(str(dest))}"
    return "\n".join([*lines, f"Parameters, and what was measured: {command}"])


def _check(corpus: Corpus, dest: Path, options: Options, share: WorkShard) -> None:
    for sign in ",:"[: 2 if options.parts > 1 else 1]:
        if sign in str(dest):
            raise UserError(f"{dest}: fairseq takes no {sign!r} in a path; rename --dest")
    for subset in ("train", "valid"):
        if subset not in corpus.subsets:
            raise UserError(f"{corpus.name}: the subset {subset} is missing")
    if reads(share):
        for path in chain.from_iterable(map(corpus.paths, corpus.subsets)):
            if not path.exists():
                raise UserError(f"{path}: no such file")


class _Plan:
    """The stages of a corpus, and what came of them."""

    def __init__(self, corpus: Corpus, results: Stages, options: Options):
        self.corpus = corpus
        self.options = options
        self.dest = results.folder
        self.languages = (corpus.source, corpus.target)
        self.splits = split_names(list(corpus.subsets))
        self.pipeline = TextPipeline(
            corpus.source,
            corpus.target,
            options.bpe,
            self.dest / "bpe",
            options.vocabulary_threshold,
        )
        self._results = results

    @cached_property
    def stages(self) -> list[Stage]:
        """All stages, in order."""
        parts = [(subset, number) for subset in self.splits for number in self._parts(subset)]
        return [
            *(self._reading(subset) for subset in self.splits),
            *(self._tokenising(*part) for part in parts),
            *([self._finding_duplicates()] if self.options.deduplicate else []),
            self._counting(),
            self._learning(),
            self._making_dictionary(),
            *(self._applying(*part) for part in parts),
            *(self._binarising(number) for number in self._parts("train")),
        ]

    def originals(self) -> dict[str, str]:
        """Name of each file that the corpus comes from → its SHA-256."""
        hashes: dict[str, str] = {}
        for subset in self.splits:
            hashes |= self._results.input_hashes(f"read {subset}")
        return hashes

    def counts(self) -> dict[str, dict[str, int]]:
        """Subset → pairs read, kept and dropped for each reason."""
        counts = {}
        for subset in self.splits:
            of_parts = [self._tokenised(subset, number) for number in self._parts(subset)]
            counts[subset] = {key: sum(part[key] for part in of_parts) for key in of_parts[0]}
        if self.options.deduplicate:
            duplicates = sum(self._results.result("find duplicates"))
            kept = counts["train"].pop("kept") - duplicates
            counts["train"] |= {"duplicate": duplicates, "kept": kept}
        return counts

    def _tokenised(self, subset: str, number: int) -> dict[str, int]:
        """The pairs of one part: read, kept and dropped for each reason."""
        counts: dict[str, int] = self._results.result(f"tokenise {self._name(subset, number)}")
        return counts

    # --- stages --------------------------------------------------------------------------------

    def _reading(self, subset: str) -> Stage:
        bitexts = self.corpus.subsets[subset]
        parts = [self._files("raw", subset, number) for number in self._parts(subset)]
        return Stage(
            f"read {subset}",
            partial(read_bitexts, bitexts, parts),
            inputs=self.corpus.paths(subset),
            outputs=[path for part in parts for path in part],
            step=READ,
        )

    def _tokenising(self, subset: str, number: int) -> Stage:
        options = self.options
        recorded: dict[str, Any] = {
            "tokeniser": options.bpe,
            "version": package_version("sacremoses"),
        }
        filters, keys = None, None
        if subset == "train":
            filters = Filters(
                options.max_length,
                options.max_ratio,
                self.languages if options.check_script else None,
            )
            keys = self._keys(number) if options.deduplicate else None
            recorded |= {
                "max_length": options.max_length,
                "max_ratio": options.max_ratio,
                "check_script": options.check_script,
                "deduplicate": options.deduplicate,
            }
        raw = self._files("raw", subset, number)
        tokenised = self._files("tokenised", subset, number)
        tokenisation = Tokenisation(self.pipeline, filters, with_keys=keys is not None)
        return Stage(
            f"tokenise {self._name(subset, number)}",
            lambda: tokenise_pairs(
                raw,
                tokenised,
                tokenisation,
                keys,
                options.processes,
                self._results.result(f"read {subset}")[number],
            ),
            inputs=raw,
            outputs=[*tokenised, *([keys] if keys else [])],
            options=recorded,
            step=TOKENISE,
            part=number,
        )

    def _finding_duplicates(self) -> Stage:
        parts = self._parts("train")
        keys = [self._keys(number) for number in parts]
        marks = [self._marks(number) for number in parts]
        return Stage(
            "find duplicates",
            partial(mark_duplicates, keys, marks),
            inputs=keys,
            outputs=marks,
            step=LEARN,
        )

    def _counting(self) -> Stage:
        parts = self._training_parts

        def count() -> None:
            if self.counts()["train"]["kept"] == 0:
                raise UserError(
                    f"{self.corpus.name}: no training pair is left after filtering; look at"
                    " --max-length and --max-ratio"
                )
            count_words(parts, self._words, self.options.processes)

        return Stage(
            "count words",
            count,
            inputs=[path for part in parts for path in part.files],
            outputs=self._words,
            step=LEARN,
        )

    def _learning(self) -> Stage:
        options, parts = self.options, self._training_parts
        if options.bpe == "subword-nmt":
            inputs, outputs = self._words, self._model
            learn = partial(
                learn_subword_nmt,
                *(self._words, self.dest / "bpe", self.languages),
                *(options.merges, options.processes),
            )
        else:
            inputs, outputs = [path for part in parts for path in part.files], self._model
            learn = partial(
                learn_sentencepiece, parts, outputs[0], options.merges, options.processes
            )
        return Stage(
            "learn",
            learn,
            inputs=inputs,
            outputs=outputs,
            options={
                "bpe": options.bpe,
                "merges": options.merges,
                "version": package_version(options.bpe),
            },
            step=LEARN,
        )

    def _making_dictionary(self) -> Stage:
        path, shared, workers = self._dictionary, self._shared_units, self.options.processes
        return Stage(
            "dictionary",
            partial(write_dictionary, self._words, path, shared, self.pipeline, workers),
            inputs=self._words + self._model,
            outputs=[path, shared],
            options={
                "threshold": self.options.vocabulary_threshold,
                "version": package_version("fairseq"),
            },
            step=LEARN,
        )

    def _applying(self, subset: str, number: int) -> Stage:
        part = self._part(subset, number)
        units = self._files("bpe", subset, number)
        return Stage(
            f"apply {self._name(subset, number)}",
            lambda: apply_pairs(
                part,
                units,
                self.pipeline,
                self.options.processes,
                self._tokenised(subset, number)["kept"],
            ),
            inputs=part.files + self._model,
            outputs=units,
            options={"threshold": self.options.vocabulary_threshold},
            step=ENCODE,
            part=number,
        )

    def _binarising(self, number: int) -> Stage:
        whole = self.options.parts == 1
        subsets = self.splits if number == 0 else ["train"]
        dictionary = (self._dictionary, self._shared_units)
        data_bin = DataBin(
            self.dest / "data-bin" if whole else part_folder(self.dest, number),
            self.languages,
            {
                self.splits[subset]: self.dest / "bpe" / self._name(subset, number)
                for subset in subsets
            },
        )
        return Stage(
            "binarise" if whole else f"binarise {number}",
            partial(binarise_pairs, data_bin, *dictionary, self.options.processes),
            inputs=[
                *dictionary,
                *(path for subset in subsets for path in self._files("bpe", subset, number)),
            ],
            outputs=data_bin.files,
            options={"version": package_version("fairseq")},
            step=ENCODE,
            part=number,
        )

    # --- files ---------------------------------------------------------------------------------

    def _parts(self, subset: str) -> range:
        """Numbers of the parts of a subset; the held-out sets go with the first."""
        return range(self.options.parts if subset == "train" else 1)

    def _name(self, subset: str, number: int) -> str:
        return subset if len(self._parts(subset)) == 1 else f"{subset}.{number}"

    def _files(self, kind: str, subset: str, number: int) -> list[Path]:
        name = self._name(subset, number)
        return [self.dest / kind / f"{name}.{language}" for language in self.languages]

    def _keys(self, number: int) -> Path:
        return self.dest / "tokenised" / f"{self._name('train', number)}.keys"

    def _marks(self, number: int) -> Path:
        return self.dest / "tokenised" / f"{self._name('train', number)}.duplicates"

    def _part(self, subset: str, number: int) -> TextPart:
        marked = subset == "train" and self.options.deduplicate
        source, target = self._files("tokenised", subset, number)
        return TextPart((source, target), self._marks(number) if marked else None)

    @property
    def _training_parts(self) -> list[TextPart]:
        return [self._part("train", number) for number in self._parts("train")]

    @property
    def _dictionary(self) -> Path:
        return self.dest / "bpe" / "dict.txt"

    @property
    def _shared_units(self) -> Path:
        return self.dest / "bpe" / SHARED_UNITS

    @cached_property
    def _words(self) -> list[Path]:
        return [self.dest / "tokenised" / f"words.{language}" for language in self.languages]

    @cached_property
    def _model(self) -> list[Path]:
        if self.options.bpe == "sentencepiece":
            return [self.dest / "bpe" / "sentencepiece.model"]
        vocabularies = [self.dest / "bpe" / f"vocab.{language}" for language in self.languages]
        return [self.dest / "bpe" / "codes", *vocabularies]


def split_names(subsets: Sequence[str]) -> dict[str, str]:
    """Subset → its name in fairseq's data-bin: train, valid, test, test1 and so on."""
    tests = [subset for subset in subsets if subset not in ("train", "valid")]
    names = {subset: f"test{number or ''}" for number, subset in enumerate(tests)}
    return {subset: names.get(subset, subset) for subset in subsets}


def read_bitexts(bitexts: Sequence[Bitext], parts: Sequence[Sequence[Path]]) -> list[int]:
    """Decode all pairs strictly and deal them out to ``parts``, one after the other.

    Args:
        bitexts: where the pairs come from, one bitext after the other.
        parts: files of the two sides of each.

    Returns:
        How many pairs each part got.

    Raises:
        UserError: where a side is bad or the sides do not match.
    """
    pairs = chain.from_iterable(bitext.pairs() for bitext in bitexts)
    counts = [0] * len(parts)
    with ExitStack() as stack:
        files = [[stack.enter_context(write_whole(path)) for path in part] for part in parts]
        for number, pair in enumerate(tqdm(pairs, "read", unit=" pairs", disable=None)):
            part = number % len(parts)
            counts[part] += 1
            for file, line in zip(files[part], pair, strict=True):
                file.write(line + "\n")
    return counts

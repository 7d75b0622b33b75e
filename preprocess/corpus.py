"""A parallel corpus: where its raw text lies, and how it is to be prepared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from preprocess.options import CommonOptions
from preprocess.pairs import Bitext, PairSource, TextFile, line_by_line
from tiednmt.errors import UserError
from tiednmt.options import Range, natural, option, positive, two_languages
from tiednmt.text.manifest import subset_fault
from tiednmt.text.pipeline import PACKAGES, SEGMENTATIONS, segmentation_for

TRAIN, VALID = "train", "valid"
AUTO = "auto"


@dataclass(frozen=True)
class Corpus:
    """Where the raw text of a language pair lies.

    Attributes:
        name: of the corpus.
        source: code of the source language.
        target: code of the target language.
        subsets: the sources of each subset, in order. ``train`` must be there, and ``valid`` unless
            pairs are held out; all others are test sets.
        held_out: how many pairs to hold out of the training text for validation.
        references: further references of test sets, line by line.

    Raises:
        UserError: fairseq does not take a language code, a subset is missing, or it cannot have
            its name.
    """

    name: str
    source: str
    target: str
    subsets: Mapping[str, Sequence[PairSource]]
    held_out: int = 0
    references: Mapping[str, Sequence[TextFile]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        two_languages(self.source, self.target)
        for subset in self.names:
            if not (subset in self.subsets or (subset == VALID and self.held_out)):
                raise UserError(f"{self.name}: the subset {subset} is missing")
            if fault := subset_fault(subset):
                raise UserError(f"{self.name}: subset {subset!r}: {fault}")

    @property
    def names(self) -> list[str]:
        """All subsets, the training text first."""
        return list(dict.fromkeys((TRAIN, VALID, *self.subsets)))

    @property
    def languages(self) -> tuple[str, str]:
        """The source and the target language."""
        return self.source, self.target

    def paths(self, subset: str) -> list[Path]:
        """The files that hold a subset."""
        return list(dict.fromkeys(self._reads(subset)))

    def order(self, subset: str) -> list[int]:
        """Which of :meth:`paths` are read, one after the other; some may be read several times."""
        paths = self.paths(subset)
        return [paths.index(path) for path in self._reads(subset)]

    def _reads(self, subset: str) -> list[Path]:
        paths = chain.from_iterable(source.paths for source in self.sources(subset))
        return [*paths, *(file.path for file in self.references.get(subset, ()))]

    def sources(self, subset: str) -> Sequence[PairSource]:
        """Where the pairs of a subset come from; held-out pairs come from the training text."""
        return self.subsets[subset if subset in self.subsets else TRAIN]

    def place(self, subset: str, number: int) -> str:
        """The file and the place in it of a pair, by its number from 1."""
        for source in self.subsets[subset]:
            pairs = sum(1 for _ in source.pairs())
            if number <= pairs:
                return source.place(number)
            number -= pairs
        raise IndexError(number)


def corpus_of_files(
    name: str, source: str, target: str, files: Mapping[str, Mapping[str, Path]]
) -> Corpus:
    """A corpus of text files, compressed or not, that correspond line by line.

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


def _segmentation(text: str) -> str:
    """The value of ``--segmentation``; the name of a package stands for the method that uses it."""
    return {package: method for method, package in PACKAGES.items()}.get(text, text)


@dataclass(frozen=True)
class Options(CommonOptions):
    """How a corpus is prepared. The defaults suit a corpus of some tens of thousands of pairs.

    8,000 merges give a joint vocabulary of about as many units, each seen often enough to learn; a
    larger corpus allows 30,000 and more. A unit seen fewer than ``vocabulary_threshold`` times in a
    language is split further there: it is mostly a word of the other language, and its embedding
    would hardly be trained. See :class:`preprocess.filters.Filters` for
    ``max_length``, ``max_ratio`` and ``check_script``; ``deduplicate`` keeps the first of identical
    training pairs.
    """

    segmentation: str = option(
        "bpe (Moses' tokens, subword-nmt), sentencepiece (raw lines) or auto: bpe where Moses has"
        " rules for both languages",
        default=AUTO,
        type=_segmentation,
        metavar="METHOD",
        also="--bpe",
    )
    merges: int = option(
        "number of joint merges; with sentencepiece, vocabulary size", default=8000, within=positive
    )
    vocabulary_threshold: int = option(
        "split units that occur fewer than N times in a language", default=5, within=natural
    )
    max_length: int = option(
        "drop training pairs with more than N words on a side", default=100, within=positive
    )
    max_ratio: float = option(
        "drop training pairs whose lengths differ by more than this factor",
        default=5.0,
        within=Range(1, 10**9, float),
        metavar="R",
    )
    check_script: bool = option(
        "drop training pairs if most letters of a side are not of its language's script",
        default=False,
        negatable=True,
    )
    deduplicate: bool = option(
        "keep only the first of identical training pairs", default=False, negatable=True
    )
    parts: int = option(
        "divide the training text into N parts, each with its data-bin",
        default=1,
        within=Range(1, 10_000),
    )
    commands: bool = option(
        "end with the commands that train and score", default=True, negatable=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.segmentation not in (AUTO, *SEGMENTATIONS):
            choices = ", ".join((AUTO, *SEGMENTATIONS))
            raise UserError(f"--segmentation {self.segmentation}: choose one of {choices}")

    def segmentation_of(self, *languages: str) -> str:
        """How text of these languages is segmented: as given, or as suits them."""
        return segmentation_for(*languages) if self.segmentation == AUTO else self.segmentation


def split_names(subsets: Iterable[str]) -> dict[str, str]:
    """Subset → its name in fairseq's data-bin: train, valid, test, test1 and so on."""
    tests = [subset for subset in subsets if subset not in (TRAIN, VALID)]
    names = {subset: f"test{number or ''}" for number, subset in enumerate(tests)}
    return {subset: names.get(subset, subset) for subset in subsets}

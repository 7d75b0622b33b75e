"""Where the files of a prepared corpus lie in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from preprocess.binarise import SHARED_UNITS
from preprocess.corpus import TRAIN
from preprocess.subwords import TextPart
from tiednmt.text.manifest import RAW, SEGMENTED, TOKENISED, part_folder, words_file


@dataclass(frozen=True)
class Layout:
    """The files of a corpus whose training text is in several parts; a held-out set is in one.

    Attributes:
        folder: the prepared folder.
        languages: source and target.
        parts: how many parts the training text has.
        deduplicates: whether identical training pairs are marked.
    """

    folder: Path
    languages: tuple[str, str]
    parts: int
    deduplicates: bool

    def numbers(self, subset: str) -> range:
        """The numbers of the parts of a subset."""
        return range(self.parts if subset == TRAIN else 1)

    def name(self, subset: str, number: int) -> str:
        """What a part of a subset is called: ``valid``, or ``train.3`` if there are several."""
        return subset if len(self.numbers(subset)) == 1 else f"{subset}.{number}"

    def raw(self, subset: str, number: int) -> list[Path]:
        """The raw text of a part of a subset, in both languages."""
        return self._sides(RAW, subset, number)

    def tokenised(self, subset: str, number: int) -> list[Path]:
        """The tokenised text of a part of a subset, in both languages."""
        return self._sides(TOKENISED, subset, number)

    def segmented(self, subset: str, number: int) -> list[Path]:
        """The text of a part of a subset in subword units, in both languages."""
        return self._sides(SEGMENTED, subset, number)

    def _sides(self, form: str, subset: str, number: int) -> list[Path]:
        name = self.name(subset, number)
        return [self.folder / form / f"{name}.{language}" for language in self.languages]

    def keys(self, number: int) -> Path:
        """The keys of the pairs of a part of the training text; identical pairs have the same."""
        return self.folder / TOKENISED / f"{self.name(TRAIN, number)}.keys"

    def marks(self, number: int) -> Path:
        """The marks of the pairs of a part of the training text that occur earlier in it."""
        return self.folder / TOKENISED / f"{self.name(TRAIN, number)}.duplicates"

    def text(self, subset: str, number: int) -> TextPart:
        """The pairs of a part of a subset that are to be used."""
        marked = subset == TRAIN and self.deduplicates
        source, target = self.tokenised(subset, number)
        return TextPart((source, target), self.marks(number) if marked else None)

    @property
    def training_parts(self) -> list[TextPart]:
        """The pairs to train on, part by part."""
        return [self.text(TRAIN, number) for number in self.numbers(TRAIN)]

    @property
    def words(self) -> list[Path]:
        """The counted words of each side of the training text."""
        return [words_file(self.folder, language) for language in self.languages]

    @property
    def model(self) -> Path:
        """The folder of the subword model."""
        return self.folder / SEGMENTED

    @property
    def dictionary(self) -> Path:
        """The dictionary of both languages."""
        return self.model / "dict.txt"

    @property
    def shared_units(self) -> Path:
        """The list of units that both languages use."""
        return self.model / SHARED_UNITS

    def data_bin(self, number: int) -> Path:
        """The folder that fairseq reads for a part of the training text."""
        return self.folder / "data-bin" if self.parts == 1 else part_folder(self.folder, number)

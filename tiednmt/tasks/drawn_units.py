"""BPE-dropout (Provilkov et al. 2020): units of the training text that differ from epoch to epoch.

Each merge of subword-nmt's or sentencepiece's byte-pair encoding is left out with some probability,
so that a word is seen in many splits. The text comes from the binarised units, so that any prepared
folder will do. Batches are made by the sizes of its own units, which drawn ones exceed by a quarter
or so.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq.data import BaseWrapperDataset, Dictionary, LanguagePairDataset
from torch import Tensor

from tiednmt.errors import UserError
from tiednmt.text.manifest import prepared_folder
from tiednmt.text.pipeline import TextPipeline


def pipeline_of(data: Path, languages: tuple[str, str]) -> TextPipeline:
    """The pipeline of the prepared folder that a data-bin is in.

    Raises:
        UserError: it is in none, or in one of other languages.
    """
    prepared = prepared_folder(data)
    if prepared is None:
        raise UserError(
            f"--bpe-dropout: {data} is in no folder that preprocess has filled, whose merges are"
            " needed; prepare the text with it, or leave the option out"
        )
    pipeline = TextPipeline.load(prepared)
    if set(languages) != set(pipeline.languages):
        raise UserError(
            f"--bpe-dropout: {prepared} has {' and '.join(pipeline.languages)}, not"
            f" {' and '.join(languages)}"
        )
    return pipeline


@dataclass(frozen=True)
class Side:
    """One side of the pairs: its dictionary and language, and the most units that a model takes."""

    dictionary: Dictionary
    language: str
    longest: int


class DrawnUnits(BaseWrapperDataset):
    """Pairs whose units are drawn anew in every epoch, the same ones whenever it is run again.

    A sentence keeps its own units where some of the drawn ones are not in the dictionary, or are
    more than a model takes, or where its text has marks of subwords itself or an unknown unit.

    Args:
        pairs: with the units that the text was prepared with.
        pipeline: that prepared it.
        sides: ``source`` and ``target``.
        dropout: the probability of leaving out a merge.
        seed: with epoch and number of a pair, it decides about the draw.
    """

    def __init__(
        self,
        pairs: LanguagePairDataset,
        pipeline: TextPipeline,
        sides: Mapping[str, Side],
        dropout: float,
        seed: int,
    ) -> None:
        super().__init__(pairs)
        self.pipeline, self.sides, self.dropout, self.seed = pipeline, sides, dropout, seed
        self.epoch = 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The pair of this number, in the units of the epoch."""
        example = self.dataset[index]
        drawn = {
            name: self._drawn(example[name], side, f"{self.seed} {self.epoch} {index} {name}")
            for name, side in self.sides.items()
        }
        return {**example, **drawn}

    @property
    def src(self) -> Any:
        """The source's side with its own units, as of :class:`LanguagePairDataset`."""
        return self.dataset.src

    @property
    def tgt(self) -> Any:
        """The target's side with its own units."""
        return self.dataset.tgt

    def set_epoch(self, epoch: int) -> None:
        """Draw for this epoch from now on."""
        super().set_epoch(epoch)
        self.epoch = epoch

    def _drawn(self, units: Tensor, side: Side, draw: str) -> Tensor:
        words = side.dictionary
        if words.unk() in units:
            return units
        own = " ".join(words[unit] for unit in units.tolist() if unit != words.eos())
        seed = zlib.crc32(draw.encode())
        try:
            drawn = self.pipeline.drawn(own, side.language, self.dropout, seed).split()
        except UserError:
            return units
        numbers = [words.index(unit) for unit in drawn]
        if len(numbers) > side.longest or words.unk() in numbers:
            return units
        return torch.tensor([*numbers, words.eos()], dtype=units.dtype)

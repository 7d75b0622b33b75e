"""How beam search goes and what is scored. Standard library only, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tiednmt.errors import UserError
from tiednmt.options import Range, option, positive, require_ranges

# A translation has at most 1.2 · n + 10 units for n source units, the end of sentence included:
# captions and sentences stay far below it, and a model that repeats itself stops soon.
MAX_LEN_A, MAX_LEN_B = 1.2, 10


@dataclass(frozen=True)
class Search:
    """How beam search goes, and how much of it at a time.

    Raises:
        UserError: a number out of its range.
    """

    beam: int = option("beam size: hypotheses kept at each step", default=5, type=Range(1, 1000))
    lenpen: float = option(
        "length penalty: scores are divided by length to this power; above 1.0 favours long output",
        default=1.0,
        type=Range(-10, 10, float),
        metavar="X",
    )
    max_tokens: int = option(
        "source units per batch, padding included; a longer sentence is its own batch",
        default=4000,
        type=positive,
    )
    max_sentences: int | None = option("sentences per batch", default=None, type=positive)

    def __post_init__(self) -> None:
        require_ranges(self)


DEFAULT_SEARCH = Search()


class SearchOptions(TypedDict, total=False):
    """The fields of :class:`Search`, as keywords of a function."""

    beam: int
    lenpen: float
    max_tokens: int
    max_sentences: int | None


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """How test sets are scored."""

    tokenize: str | None = option(
        "sacreBLEU's tokeniser for BLEU (default: by target language zh, ja-mecab, ko-mecab, char"
        " for scripts without spaces, else 13a)",
        default=None,
        metavar="NAME",
    )
    lowercase: bool = option("ignore case", default=False)
    chrf_word_order: int = option("word n-grams of chrF: 2 is chrF++", default=0, type=Range(0, 10))
    comet: str | None = option(
        "also score with this COMET model, such as Unbabel/wmt22-comet-da, or a checkpoint file"
        " that you trust (pip install unbabel-comet)",
        default=None,
        metavar="MODEL",
    )
    domains: Path | None = option(
        "one label per line of the subset: the lines of each label are also scored separately",
        default=None,
        metavar="FILE",
    )


DEFAULT_SCORING_OPTIONS = ScoringOptions()


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What ``tiednmt evaluate`` does, beside how it searches and scores.

    Raises:
        UserError: options that exclude each other.
    """

    data: Path = option("prepared folder", metavar="PREPARED")
    subset: tuple[str, ...] = option(
        "test set to score, of the folder or of sacreBLEU (wmt14/full); may be repeated",
        default=(),
        repeated=True,
    )
    input: str | None = option(
        "plain text to translate instead; - reads stdin", default=None, metavar="FILE"
    )
    baseline: tuple[str, ...] = option(
        "system to compare the others with; may be repeated (default: the first)",
        default=(),
        repeated=True,
    )
    cpu: bool = option("run on the CPU even if there is a GPU", default=False)
    int8: bool = option("decode with int8 weights on the CPU", default=False)
    json: Path | None = option("write scores as JSON", default=None, metavar="FILE")
    output: Path | None = option(
        "write translations, one file per system and subset", default=None, metavar="DIR"
    )

    def __post_init__(self) -> None:
        if bool(self.subset) == (self.input is not None):
            raise UserError("give either --subset, to score, or --input, to translate")
        if self.input is not None and (self.json or self.output):
            raise UserError("--json and --output go with --subset; --input writes to stdout")
        if self.input is not None and self.baseline:
            raise UserError("--baseline goes with --subset; --input only translates")
        for name, values in (("--subset", self.subset), ("--baseline", self.baseline)):
            again = next((value for value in values if values.count(value) > 1), None)
            if again is not None:
                raise UserError(f"{name} {again}: given twice; leave one out")
        if self.json and self.json.is_dir():
            raise UserError(f"--json {self.json}: a folder; give the name of a file")

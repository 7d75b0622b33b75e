"""How experiments on embeddings are measured and shown: word similarity, and who is like whom."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from preprocess.files import write_json
from scripts.lab.kinds.kind import Figures, Kind, Trained
from scripts.lab.records import joining
from scripts.lab.records.schema import (
    EmbeddingRecord,
    PaperOrders,
    SetSimilarity,
    SkipGramRecord,
    names_in,
)
from scripts.lab.records.seeds import SeedStatistics, mean_and_sd, over_seeds
from scripts.lab.run.processes import Child, Place, side_by_side
from scripts.lab.score.embeddings import load, read_sets, similarity
from scripts.lab.show.analysis_pictures import plot_likeness, plot_similarity
from scripts.lab.show.markdown import markdown, trained_on
from tiednmt.analysis.embeddings import Embedding, whole
from tiednmt.analysis.likeness import likeness
from tiednmt.analysis.word_similarity import WordPairs
from tiednmt.errors import UserError

Named = Mapping[str, Embedding]

# --- scoring -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class EmbeddingScoring:
    """Embeddings of language models, one seed after the other.

    ``paper`` has the order that the paper states, of the embeddings' ``similarity`` in every set
    (``V > U``) and of the ``correlation`` of pairs of them (``V,S > U,V``). Its figures are left
    out: there is no source at hand that they could be checked with.
    """

    paper: Mapping[str, str] = field(default_factory=dict)

    packages: ClassVar[Sequence[str]] = ("scipy", "gensim")
    measures_similarity: ClassVar[bool] = True

    def score(self, trained: Trained) -> dict[str, Any]:
        """``similarity`` by set and ``correlation`` by pair of embeddings."""
        seeds = [
            _by_name([run.checkpoint for run in of_seed], trained.data)
            for of_seed in zip(*trained.runs.values(), strict=True)
        ]
        correlations = [likeness(embeddings).rho for embeddings in seeds]
        return {
            **self._similarity(trained, seeds),
            "correlation": {
                ",".join(two): _known(over[two] for over in correlations) for two in correlations[0]
            },
        }

    def _similarity(self, trained: Trained, seeds: Sequence[Named]) -> dict[str, Any]:
        sets = read_sets([trained.out / "wordsim"])
        return {
            "rows": trained.rows,
            "seeds": len(seeds),
            "paper": PaperOrders(**self.paper),
            "similarity": {pairs.name: _set_similarity(pairs, seeds) for pairs in sets},
        }


@dataclass(frozen=True)
class SkipGramScoring(EmbeddingScoring):
    """Skip-gram vectors of the training text; ``options`` are those of ``scripts.skip_gram``."""

    options: Mapping[str, Any] = field(default_factory=dict)

    def score(self, trained: Trained) -> dict[str, Any]:
        """``similarity`` of U and V by set."""
        text = trained.data / "tokenised" / "train.txt"
        trainings = [
            _SkipGram.command(text, trained.out / f"seed-{seed}.model", seed, self.options)
            for seed in trained.seeds
        ]
        missing = [command for command in trainings if not _SkipGram.is_done(command)]
        side_by_side([partial(_SkipGram, command) for command in missing], trained.jobs)
        seeds = [_by_name([_SkipGram.out(command)]) for command in trainings]
        return {
            **self._similarity(trained, seeds),
            "options": self.options,
            "training_command": shlex.join(["python", *trainings[0]]),
        }


def _by_name(paths: Sequence[Path], data: Path | None = None) -> dict[str, Embedding]:
    subjects = [load(path.parent.name, path, data) for path in paths]
    return {e.name: e for subject in subjects for e in subject.embeddings}


def _set_similarity(pairs: WordPairs, seeds: Sequence[Named]) -> SetSimilarity:
    """ρ of each embedding, all of one vocabulary; the pairs it covers are those of any seed."""
    scores = [
        similarity(pairs, {name: (e, whole) for name, e in embeddings.items()})
        for embeddings in seeds
    ]
    first = scores[0]["by"]
    return SetSimilarity(
        covered=next(iter(first.values()))["covered"],
        pairs=scores[0]["pairs"],
        rho={name: _known(score["by"][name]["rho"] for score in scores) for name in first},
    )


def _known(values: Iterable[float | None]) -> SeedStatistics | None:
    """Statistics of the seeds that have a value; None where none has."""
    known = [value for value in values if value is not None]
    return over_seeds(known) if known else None


class _SkipGram(Child):
    """``scripts.skip_gram`` under way; what it was told is kept beside what it leaves."""

    def __init__(self, command: Sequence[str], place: Place) -> None:
        print(f"training of {self.out(command).name}", file=sys.stderr)
        log = self.out(command).with_suffix(".log")
        super().__init__("training of skip-gram", [sys.executable, *command], log, place)
        self.told = command

    @staticmethod
    def command(text: Path, out: Path, seed: int, options: Mapping[str, Any]) -> list[str]:
        """The arguments of the interpreter; the file to write is the last."""
        given = [word for name, value in options.items() for word in (_option(name), str(value))]
        command = ["-m", "scripts.skip_gram", "--text", str(text), "--seed", str(seed), *given]
        return [*command, "--out", str(out)]

    @staticmethod
    def out(command: Sequence[str]) -> Path:
        return Path(command[-1])

    @staticmethod
    def is_done(command: Sequence[str]) -> bool:
        record = _SkipGram.out(command).with_suffix(".json")
        return record.exists() and json.loads(record.read_text(encoding="utf-8")) == [*command]

    def ended(self) -> bool:
        ended = super().ended()
        if ended:
            write_json(self.out(self.told).with_suffix(".json"), self.told)
        return ended


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


# --- further seeds -----------------------------------------------------------------------------


def join_skip_gram(kept: SkipGramRecord, new: SkipGramRecord) -> SkipGramRecord:
    """The new record, unless it is of fewer seeds and the same options.

    Raises:
        UserError: it is.
    """
    if new.options == kept.options and new.seeds < kept.seeds:
        raise UserError(
            f"{new.experiment}: {new.seeds} seeds would take the place of {kept.seeds}; run the "
            "others too, or delete the record"
        )
    return new


# --- figures -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """Figures that the paper puts in an order: ρ of the embeddings in a set, or of their pairs.

    ``figures`` are by embedding (``U``) or pair (``U,V``), None where one is not known; ``order``
    is what the paper states of them, if anything.
    """

    figures: Mapping[str, SeedStatistics | None]
    order: str | None

    @property
    def comes_out(self) -> bool | None:
        """Whether the means fall as ``order`` says; None where one is not known."""
        if self.order is None:
            return None
        means = {name: figure.mean if figure else None for name, figure in self.figures.items()}
        return in_order(self.order, means)


@dataclass(frozen=True)
class ComparedInSet(Compared):
    """What of a word-similarity set's pairs both words are known of, and out of how many."""

    covered: int
    pairs: int


def similarity_of(record: EmbeddingRecord) -> dict[str, ComparedInSet]:
    """What a record says of each word-similarity set."""
    return {
        name: ComparedInSet(one.rho, record.paper.similarity, one.covered, one.pairs)
        for name, one in record.similarity.items()
    }


def correlation_of(record: EmbeddingRecord) -> Compared | None:
    """What a record says of the likeness of every two embeddings, where that was measured."""
    if not record.correlation:
        return None
    return Compared(record.correlation, record.paper.correlation)


def in_order(order: str, values: Mapping[str, float | None]) -> bool | None:
    """Whether ``values`` fall as ``order`` (``V > U``) says; None where one is not known."""
    ordered = [values[name] for name in names_in(order)]
    known = [value for value in ordered if value is not None]
    if len(known) < len(ordered):
        return None
    return all(one > other for one, other in pairwise(known))


ANSWERS = {True: "yes", False: "no", None: "–"}


def table(record: EmbeddingRecord) -> str:
    """Ours, and whether it comes in the paper's order."""
    blocks = [_similarity_table(record)]
    correlation = correlation_of(record)
    if correlation:
        blocks.append(_correlation_table(correlation))
    return "\n\n".join((*blocks, conditions(record)))


def conditions(record: EmbeddingRecord) -> str:
    """What ρ is of, seeds, machine, and what is said of the paper."""
    seeds = record.seeds
    spread = f"; mean ± standard deviation of {seeds} seeds" if seeds > 1 else ""
    how = trained_on(record.machine) if record.rows else "gensim, on one thread"
    liked = ", ρ(U,V) that of all pairs' cosines in the one and in the other"
    of_paper = (
        " The last column says whether the order is the one that the paper states; its own "
        "figures could not be checked, so they are not shown."
    )
    return (
        f"{record.title}. Spearman's ρ of cosines and human scores over the covered pairs"
        f"{liked if record.correlation else ''}{spread}; {how}."
        f"{of_paper if record.paper != PaperOrders() else ''}"
    )


def plot(record: EmbeddingRecord, out: Path) -> None:
    """``word-similarity``, and ``likeness`` where it was measured."""
    bars = {
        name: {
            "pairs": one.pairs,
            "by": {
                letter: {"rho": figure.mean if figure else None, "covered": one.covered}
                for letter, figure in one.rho.items()
            },
        }
        for name, one in record.similarity.items()
    }
    plot_similarity(bars, out / "word-similarity")
    if record.correlation:
        pairs = [
            {"of": two.split(","), "rho": figure.mean if figure else None}
            for two, figure in record.correlation.items()
        ]
        plot_likeness(pairs, out / "likeness")


def _similarity_table(record: EmbeddingRecord) -> str:
    sets = similarity_of(record)
    first = next(iter(sets.values()))
    head = ["", "pairs covered", *first.figures, *_order_head(first)]
    rows = [[name, f"{one.covered:,} of {one.pairs:,}", *_cells(one)] for name, one in sets.items()]
    return markdown(head, rows)


def _correlation_table(pairs: Compared) -> str:
    head = [*(f"ρ({two})" for two in pairs.figures), *_order_head(pairs)]
    return markdown(head, [_cells(pairs)], left=0)


def _order_head(compared: Compared) -> list[str]:
    return [f"paper: {compared.order}"] if compared.order else []


def _cells(compared: Compared) -> list[str]:
    answer = [ANSWERS[compared.comes_out]] if compared.order else []
    return [*map(_figure, compared.figures.values()), *answer]


def _figure(figure: SeedStatistics | None) -> str:
    return "–" if figure is None else mean_and_sd(figure, places=3)


KIND = Kind(
    record=EmbeddingRecord,
    scoring=EmbeddingScoring,
    task="tied_language_modeling",
    figures=Figures(table, table, conditions, plot),
    join=joining.whole,
)
SKIP_GRAM: Kind[SkipGramRecord] = Kind(
    record=SkipGramRecord,
    scoring=SkipGramScoring,
    figures=Figures(table, table, conditions, plot),
    join=join_skip_gram,
)

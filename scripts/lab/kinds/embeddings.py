"""How experiments on embeddings are measured and shown: word similarity, and who is like whom."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from preprocess.files import write_json
from scripts.lab.records.seeds import mean_and_sd, over_seeds
from scripts.lab.run.processes import Child, Place, side_by_side
from scripts.lab.run.training import Run
from scripts.lab.score.embeddings import load, read_sets, similarity
from scripts.lab.show.analysis_pictures import plot_likeness, plot_similarity
from scripts.lab.show.markdown import markdown, trained_on
from tiednmt.analysis.embeddings import Embedding, whole
from tiednmt.analysis.likeness import likeness
from tiednmt.analysis.word_similarity import WordPairs

Record = dict[str, Any]


@dataclass(frozen=True)
class EmbeddingResults:
    """Embeddings of language models, one seed after the other.

    ``paper`` has the order that the paper states, of the embeddings' ``similarity`` in every set
    (``V > U``) and of the ``correlation`` of pairs of them (``V,S > U,V``). Its figures are left
    out: there is no source at hand that they could be checked with.
    """

    paper: Mapping[str, str] = field(default_factory=dict)

    packages: ClassVar = ("scipy", "gensim")
    measures_similarity: ClassVar = True

    def measure(
        self,
        rows: Sequence[Record],
        runs: Mapping[str, Sequence[Run]],
        data: Path,
        out: Path,
        jobs: int,
        seeds: Sequence[int],
    ) -> Record:
        """``similarity`` by set and ``correlation`` by pair of embeddings, means of the seeds."""
        sets = read_sets([out / "wordsim"])
        found = []
        for of_seed in zip(*runs.values(), strict=True):
            embeddings = _by_name([run.checkpoint for run in of_seed], data)
            correlation = {",".join(two): rho for two, rho in likeness(embeddings).rho.items()}
            found.append({"correlation": correlation, **_similarity(sets, embeddings)})
        return {"rows": rows, "paper": self.paper, **_joined(found)}

    @staticmethod
    def table(record: Mapping[str, Any]) -> str:
        """Ours, and whether it comes in the paper's order."""
        blocks = [_similarity_table(record)]
        correlation = correlation_of(record)
        if correlation:
            blocks.append(_correlation_table(correlation))
        return "\n\n".join((*blocks, EmbeddingResults.conditions(record)))

    @staticmethod
    def conditions(record: Mapping[str, Any]) -> str:
        """What ρ is of, seeds, machine, and what is said of the paper."""
        seeds = record["seeds"]
        spread = f"; mean ± standard deviation of {seeds} seeds" if seeds > 1 else ""
        how = trained_on(record["machine"]) if record["rows"] else "gensim, on one thread"
        liked = ", ρ(U,V) that of all pairs' cosines in the one and in the other"
        of_paper = (
            " The last column says whether the order is the one that the paper states; its own "
            "figures could not be checked, so they are not shown."
        )
        return (
            f"{record['title']}. Spearman's ρ of cosines and human scores over the covered pairs"
            f"{liked if 'correlation' in record else ''}{spread}; {how}."
            f"{of_paper if record['paper'] else ''}"
        )

    @staticmethod
    def page(record: Mapping[str, Any]) -> str:
        """The table."""
        return EmbeddingResults.table(record)

    @staticmethod
    def plot(record: Mapping[str, Any], out: Path) -> None:
        """``word-similarity``, and ``likeness`` where it was measured."""
        bars = {
            name: {
                "pairs": found.pairs,
                "by": {
                    letter: {"rho": figure["mean"], "covered": found.covered}
                    for letter, figure in found.figures.items()
                },
            }
            for name, found in similarity_of(record).items()
        }
        plot_similarity(bars, out / "word-similarity")
        correlation = correlation_of(record)
        if correlation:
            pairs = [
                {"of": two.split(","), "rho": figure["mean"]}
                for two, figure in correlation.figures.items()
            ]
            plot_likeness(pairs, out / "likeness")


@dataclass(frozen=True)
class SkipGramResults(EmbeddingResults):
    """Skip-gram vectors of the training text; ``options`` are those of ``scripts.skip_gram``."""

    options: Mapping[str, Any] = field(default_factory=dict)

    def measure(
        self,
        rows: Sequence[Record],
        runs: Mapping[str, Sequence[Run]],
        data: Path,
        out: Path,
        jobs: int,
        seeds: Sequence[int],
    ) -> Record:
        """``similarity`` of U and V by set, means of the seeds."""
        text = data / "tokenised" / "train.txt"
        trainings = [
            _SkipGram.command(text, out / f"seed-{seed}.model", seed, self.options)
            for seed in seeds
        ]
        missing = [command for command in trainings if not _SkipGram.is_done(command)]
        side_by_side([partial(_SkipGram, command) for command in missing], jobs)
        sets = read_sets([out / "wordsim"])
        found = [_similarity(sets, _by_name([_SkipGram.out(command)])) for command in trainings]
        return {
            "rows": rows,
            "training_command": shlex.join(["python", *trainings[0]]),
            "paper": self.paper,
            **_joined(found),
        }


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


def _by_name(paths: Sequence[Path], data: Path | None = None) -> dict[str, Embedding]:
    subjects = [load(path.parent.name, path, data) for path in paths]
    return {e.name: e for subject in subjects for e in subject.embeddings}


def _similarity(sets: Sequence[WordPairs], embeddings: Mapping[str, Embedding]) -> Record:
    """By set ρ of each embedding, all of one vocabulary, and the pairs it covers."""
    by_set = {}
    for pairs in sets:
        found = similarity(pairs, {name: (e, whole) for name, e in embeddings.items()})
        by = found["by"]
        covered = next(iter(by.values()))["covered"]
        values = {name: one["rho"] for name, one in by.items()}
        by_set[pairs.name] = {**values, "covered": covered, "pairs": found["pairs"]}
    return {"similarity": by_set}


# --- several seeds -----------------------------------------------------------------------------

COUNTS = ("covered", "pairs")


def _joined(found: Sequence[Record]) -> Record:
    """The records of all seeds as one of the same form, of means; spreads in ``over_seeds``."""
    spread = _spread(found)
    return {"seeds": len(found), **_means(spread), "over_seeds": spread}


def _spread(found: Sequence[Record]) -> Record:
    """Every figure as ``over_seeds`` has it; counts are those of the first."""
    first = found[0]
    return {
        key: value
        if key in COUNTS
        else _spread([one[key] for one in found])
        if isinstance(value, dict)
        else _over_seeds([one[key] for one in found])
        for key, value in first.items()
    }


def _over_seeds(values: Sequence[float | None]) -> Record:
    known = [value for value in values if value is not None]
    return over_seeds(known) if known else {"mean": None, "sd": None, "seeds": 0}


def _means(spread: Record) -> Record:
    return {
        key: value if key in COUNTS else value["mean"] if "mean" in value else _means(value)
        for key, value in spread.items()
    }


# --- tables ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """Figures that the paper puts in an order: ρ of the embeddings in a set, or of their pairs.

    ``figures`` are those of :func:`over_seeds`, by embedding (``U``) or pair (``U,V``), with None
    for a ``mean`` that is not known; ``order`` is what the paper states of them, if anything.
    """

    figures: Mapping[str, Mapping[str, Any]]
    order: str | None

    @property
    def comes_out(self) -> bool | None:
        """Whether the means fall as ``order`` says; None where one is not known."""
        if self.order is None:
            return None
        return in_order(self.order, {name: found["mean"] for name, found in self.figures.items()})


@dataclass(frozen=True)
class ComparedInSet(Compared):
    """What of a word-similarity set's pairs both words are known of, and out of how many."""

    covered: int
    pairs: int


def similarity_of(record: Mapping[str, Any]) -> dict[str, ComparedInSet]:
    """What a record says of each word-similarity set."""
    order = record["paper"].get("similarity")
    spread = record["over_seeds"]["similarity"]
    return {
        name: ComparedInSet(
            {key: figure for key, figure in spread[name].items() if key not in COUNTS},
            order,
            **{count: found[count] for count in COUNTS},
        )
        for name, found in record["similarity"].items()
    }


def correlation_of(record: Mapping[str, Any]) -> Compared | None:
    """What a record says of the likeness of every two embeddings, where that was measured."""
    found = record["over_seeds"].get("correlation")
    return Compared(found, record["paper"].get("correlation")) if found else None


def in_order(order: str, values: Mapping[str, float | None]) -> bool | None:
    """Whether ``values`` fall as ``order`` (``V > U``) says; None where one is not known."""
    found = [values[name] for name in names_in(order)]
    known = [value for value in found if value is not None]
    if len(known) < len(found):
        return None
    return all(one > other for one, other in pairwise(known))


def names_in(order: str) -> list[str]:
    """The names that an order such as ``V > U`` puts in a row."""
    return order.split(" > ")


ANSWERS = {True: "yes", False: "no", None: "–"}


def _similarity_table(record: Mapping[str, Any]) -> str:
    sets = similarity_of(record)
    first = next(iter(sets.values()))
    head = ["", "pairs covered", *first.figures, *_order_head(first)]
    rows = [
        [name, f"{found.covered:,} of {found.pairs:,}", *_cells(found)]
        for name, found in sets.items()
    ]
    return markdown(head, rows)


def _correlation_table(found: Compared) -> str:
    head = [*(f"ρ({two})" for two in found.figures), *_order_head(found)]
    return markdown(head, [_cells(found)], left=0)


def _order_head(found: Compared) -> list[str]:
    return [f"paper: {found.order}"] if found.order else []


def _cells(found: Compared) -> list[str]:
    answer = [ANSWERS[found.comes_out]] if found.order else []
    return [*map(_figure, found.figures.values()), *answer]


def _figure(figure: Mapping[str, Any]) -> str:
    """What :func:`over_seeds` made of ρ, as tables show it."""
    return "–" if figure["mean"] is None else mean_and_sd(figure, places=3)

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
from scripts.analysis_plots import plot_likeness, plot_similarity
from scripts.analysis_record import load, read_sets, similarity
from scripts.processes import Child, Place, side_by_side
from scripts.seeds import mean_and_sd, over_seeds
from scripts.tables import markdown, trained_on
from scripts.training import Run
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
        seeds: int,
    ) -> Record:
        """``similarity`` by set and ``correlation`` by pair of embeddings, means of the seeds."""
        sets = read_sets([out / "wordsim"])
        found = []
        for seed in range(seeds):
            checkpoints = [of_row[seed].checkpoint for of_row in runs.values()]
            embeddings = _by_name(checkpoints, data)
            correlation = {",".join(two): rho for two, rho in likeness(embeddings).rho.items()}
            found.append({"correlation": correlation, **_similarity(sets, embeddings)})
        return {"rows": rows, "paper": self.paper, **_joined(found)}

    @staticmethod
    def table(record: Mapping[str, Any]) -> str:
        """Ours, and whether it comes in the paper's order."""
        blocks = [_similarity_table(record)]
        if "correlation" in record:
            blocks.append(_correlation_table(record))
        return "\n\n".join((*blocks, _conditions(record)))

    @staticmethod
    def page(record: Mapping[str, Any]) -> str:
        """The table."""
        return EmbeddingResults.table(record)

    @staticmethod
    def plot(record: Mapping[str, Any], out: Path) -> None:
        """``word-similarity``, and ``likeness`` where it was measured."""
        bars = {
            name: {
                "pairs": found["pairs"],
                "by": {
                    letter: {"rho": found[letter], "covered": found["covered"]}
                    for letter in _letters(record)
                },
            }
            for name, found in record["similarity"].items()
        }
        plot_similarity(bars, out / "word-similarity")
        if "correlation" in record:
            pairs = [
                {"of": two.split(","), "rho": rho} for two, rho in record["correlation"].items()
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
        seeds: int,
    ) -> Record:
        """``similarity`` of U and V by set, means of the seeds."""
        text = data / "tokenised" / "train.txt"
        trainings = [
            _SkipGram.command(text, out / f"seed-{seed}.model", seed, self.options)
            for seed in range(1, seeds + 1)
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

_COUNTS = ("covered", "pairs")


def _joined(found: Sequence[Record]) -> Record:
    """The records of all seeds as one of the same form, of means; spreads in ``over_seeds``."""
    spread = _spread(found)
    return {"seeds": len(found), **_means(spread), "over_seeds": spread}


def _spread(found: Sequence[Record]) -> Record:
    """Every figure as ``over_seeds`` has it; counts are those of the first."""
    first = found[0]
    return {
        key: value
        if key in _COUNTS
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
        key: value if key in _COUNTS else value["mean"] if "mean" in value else _means(value)
        for key, value in spread.items()
    }


# --- tables ------------------------------------------------------------------------------------


def in_order(order: str, values: Mapping[str, float | None]) -> bool | None:
    """Whether ``values`` fall as ``order`` (``V > U``) says; None where one is not known."""
    found = [values[name] for name in order.split(" > ")]
    known = [value for value in found if value is not None]
    if len(known) < len(found):
        return None
    return all(one > other for one, other in pairwise(known))


_ANSWERS = {True: "yes", False: "no", None: "–"}


def _letters(record: Mapping[str, Any]) -> list[str]:
    first = next(iter(record["similarity"].values()))
    return [key for key in first if key not in _COUNTS]


def _similarity_table(record: Mapping[str, Any]) -> str:
    letters, order = _letters(record), record["paper"].get("similarity")
    head = ["", "pairs covered", *letters, *([f"paper: {order}"] if order else [])]
    rows = []
    for name, found in record["similarity"].items():
        spread = record["over_seeds"]["similarity"][name]
        row = [name, f"{found['covered']:,} of {found['pairs']:,}"]
        row += [_figure(spread[letter]) for letter in letters]
        rows.append(row + ([_ANSWERS[in_order(order, found)]] if order else []))
    return markdown(head, rows)


def _correlation_table(record: Mapping[str, Any]) -> str:
    found, order = record["correlation"], record["paper"].get("correlation")
    spread = record["over_seeds"]["correlation"]
    head = [*(f"ρ({two})" for two in found), *([f"paper: {order}"] if order else [])]
    row = [_figure(spread[two]) for two in found]
    return markdown(head, [row + ([_ANSWERS[in_order(order, found)]] if order else [])], left=0)


def _figure(figure: Mapping[str, Any]) -> str:
    return "–" if figure["mean"] is None else mean_and_sd(figure, places=3)


def _conditions(record: Mapping[str, Any]) -> str:
    seeds = record["seeds"]
    spread = f"; mean ± standard deviation of {seeds} seeds" if seeds > 1 else ""
    how = trained_on(record["machine"]) if record["rows"] else "gensim, on one thread"
    liked = ", ρ(U,V) that of all pairs' cosines in the one and in the other"
    return (
        f"{record['title']}. Spearman's ρ of cosines and human scores over the covered pairs"
        f"{liked if 'correlation' in record else ''}{spread}; {how}. "
        "The last column says whether the order is the one that the paper states; its own figures "
        "could not be checked, so they are not shown."
    )

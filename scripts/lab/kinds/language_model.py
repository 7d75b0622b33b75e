"""How language-model experiments are scored and shown: perplexity beside a paper's."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from scripts.lab.records.figures import Measure, Score, perplexity
from scripts.lab.records.seeds import interval_of_mean, mean_and_sd, over_seeds, pooled
from scripts.lab.run.processes import Child, Place, side_by_side
from scripts.lab.run.training import Run
from scripts.lab.show.markdown import duration, markdown, trained_on
from scripts.lab.show.pictures import CurveAxes, plot_curves
from tiednmt.errors import UserError

# a figure of a row, and the key of what the paper says of it
PAPER = {
    "parameters": "paper_parameters",
    "train": "paper_train",
    "valid": "paper_valid",
    "test": "paper",
}

Row = dict[str, Any]


@dataclass(frozen=True)
class LanguageModelResults:
    """The settings of a language-model experiment, and what is made of its runs."""

    subsets: Sequence[str] = ("train", "valid", "test")
    # by row: the ``parameters`` as the paper writes them, and its perplexity by subset
    paper: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    note: str = ""  # what a reader must know to compare with the paper

    packages: ClassVar = ()
    measures_similarity: ClassVar = False
    curve_axes: ClassVar[CurveAxes] = CurveAxes(
        x="epoch",
        y=lambda point: perplexity(point["nll"]),
        y_label="validation perplexity",
        logarithmic=True,
    )

    def measure(
        self,
        rows: Sequence[Row],
        runs: Mapping[str, Sequence[Run]],
        data: Path,
        out: Path,
        jobs: int,
        seeds: Sequence[int],
    ) -> dict[str, Any]:
        """Perplexity of every run, ``jobs`` at a time; what the record says of it.

        Each row has by subset the ``mean`` and ``sd`` over its seeds, and what the paper says.
        """
        every = [
            (run, subset) for of_row in runs.values() for run in of_row for subset in self.subsets
        ]
        missing = [one for one in every if not _is_scored(*one)]
        side_by_side([partial(_Scoring, run, subset, data) for run, subset in missing], jobs)
        return {"rows": [self._row(row, runs[row["name"]]) for row in rows], "note": self.note}

    def _row(self, row: Row, runs: Sequence[Run]) -> Row:
        given = self.paper.get(row["name"], {})
        scores = {
            subset: over_seeds([_perplexity(run, subset) for run in runs])
            for subset in self.subsets
        }
        paper = {PAPER[key]: given.get(key) for key in ("parameters", *self.subsets)}
        return {**row, **scores, **paper}

    @staticmethod
    def table(record: Mapping[str, Any]) -> str:
        """Sizes and perplexities beside the paper's, and how they were come by."""
        rows = record["rows"]
        shown = [key for key in PAPER if key in rows[0]]
        compared = [key for key in shown if any(row[PAPER[key]] is not None for row in rows)]
        head, cells = [""], [[row["name"]] for row in rows]
        for key in shown:
            head += [key, "paper"] if key in compared else [key]
            for row, line in zip(rows, cells, strict=True):
                line.append(_figure(row[key]))
                if key in compared:
                    line.append(_given(row[PAPER[key]]))
        head += ["epochs", "training"]
        for row, line in zip(rows, cells, strict=True):
            line += [str(row["epochs"]), duration(row["training_seconds"])]
        return "\n".join((markdown(head, cells), "", LanguageModelResults.conditions(record)))

    @staticmethod
    def conditions(record: Mapping[str, Any]) -> str:
        """How it was scored, seeds, machine, and the experiment's note."""
        spread = _spread(record["rows"])
        sentences = (
            f"{record['title']}. Perplexity of the checkpoint that is best on the validation set, "
            f"in one stream, its state carried{spread}; {trained_on(record['machine'])}.",
            record["note"],
        )
        return " ".join(filter(None, sentences))

    @staticmethod
    def measures(record: Mapping[str, Any]) -> list[Measure]:
        """Perplexity by part of the corpus; differences are to the first row."""
        rows = record["rows"]
        return [
            Measure(
                metric="perplexity",
                subset=subset,
                scores={row["name"]: _score(row, rows[0], subset) for row in rows},
                places=1,
                drawn=subset != "train",
                headline=subset == "test",
                better="lower",
            )
            for subset in _SUBSETS
            if subset in rows[0]
        ]

    @classmethod
    def page(cls, record: Mapping[str, Any]) -> str:
        """The table."""
        return cls.table(record)

    @classmethod
    def plot(cls, record: Mapping[str, Any], out: Path) -> None:
        """``perplexity-over-epochs``, or updates, of the validation set."""
        plot_curves(record, out / f"perplexity-over-{cls.curve_axes.x}s", cls.curve_axes)

    @classmethod
    def joined(cls, kept: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        """The record ``kept`` with what ``new`` adds: rows, and further seeds of the same training.

        A row that was trained otherwise, or with all the seeds that are there and perhaps more,
        takes the place of the one that was kept.

        Raises:
            UserError: a row was trained with some of the seeds that are there.
        """
        rows = {row["name"]: {**row, "seeds": _seeds_of(row)} for row in kept["rows"]}
        curves = dict(kept["curves"])
        for row in new["rows"]:
            name, more = row["name"], new["curves"][row["name"]]
            further = name in rows and _is_further(rows[name], row)
            rows[name] = _of_all_seeds(rows[name], row) if further else row
            curves[name] = [*curves[name], *more] if further else more
        earlier = [*kept.get("earlier", ()), {key: kept[key] for key in _PROVENANCE}]
        if curves == new["curves"]:  # nothing of the other is left
            earlier = []
        return {**new, "rows": list(rows.values()), "curves": curves, "earlier": earlier}


@dataclass(frozen=True)
class FirstUpdatesResults(LanguageModelResults):
    """Of models whose training is only begun: that it works, where there is no GPU to end it."""

    subsets: Sequence[str] = ()  # what was validated on the way is all that is known of them

    curve_axes: ClassVar[CurveAxes] = replace(LanguageModelResults.curve_axes, x="update")

    @staticmethod
    def table(record: Mapping[str, Any]) -> str:
        """Validation perplexity over the updates."""
        curves = {name: of_row[0] for name, of_row in record["curves"].items()}
        updates = [point["update"] for point in next(iter(curves.values()))]
        head = ["validation perplexity after", "parameters", *(f"{u:,} updates" for u in updates)]
        cells = [
            [row["name"], _figure(row["parameters"])]
            + [f"{perplexity(point['nll']):,.0f}" for point in curves[row["name"]]]
            for row in record["rows"]
        ]
        return "\n".join((markdown(head, cells), "", FirstUpdatesResults.conditions(record)))

    @staticmethod
    def conditions(record: Mapping[str, Any]) -> str:
        """What was begun, where, and by what command."""
        # of all rows, which may have joined
        command = f"python -m scripts.reproduce {record['experiment']}"
        return f"{record['title']}; {trained_on(record['machine'])}. `{command}`"


_SUBSETS = ("train", "valid", "test")
_PROVENANCE = ("command", "machine", "versions")
# of a training command: the data-bin and what differs from seed to seed and machine to machine
_OF_RUN = re.compile(r"(?<=^fairseq-train )('[^']*'|\S+)|--(seed|save-dir) ('[^']*'|\S+)|--cpu\b")


def _seeds_of(row: Row) -> list[int]:
    """With which the row was trained; older records do not say, theirs are counted from 1."""
    return row.get("seeds") or list(range(1, row["test"]["seeds"] + 1))


def _is_further(old: Row, new: Row) -> bool:
    """Whether two rows are the same training with different seeds."""
    commands = {" ".join(_OF_RUN.sub("", row["training_command"]).split()) for row in (old, new)}
    before, now = {*_seeds_of(old)}, {*_seeds_of(new)}
    if len(commands) > 1 or now >= before:
        return False
    if now & before:
        raise UserError(
            f"{new['name']}: seeds {_listed(now)} would take the place of {_listed(before)}; run "
            "the others too, or delete the row from the record that is kept"
        )
    return True


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))


def _of_all_seeds(old: Row, new: Row) -> Row:
    parts = [(len(_seeds_of(row)), row["training_seconds"]) for row in (old, new)]
    return {
        **old,
        **{subset: pooled(old[subset], new[subset]) for subset in _SUBSETS if subset in old},
        "seeds": [*_seeds_of(old), *_seeds_of(new)],
        "training_seconds": round(sum(n * s for n, s in parts) / sum(n for n, _ in parts)),
    }


def _spread(rows: Sequence[Row]) -> str:
    counts = {row["test"]["seeds"] for row in rows}
    several = sorted(counts - {1})
    if not several:
        return ""
    where = " where a spread stands" if 1 in counts else ""
    numbers = " or ".join(map(str, several))
    return f"; mean ± standard deviation of {numbers} seeds{where}"


def _scores(run: Run, subset: str) -> Path:
    """The JSON of ``scripts.perplexity``."""
    return run.folder / f"perplexity-{subset}.json"


def _is_scored(run: Run, subset: str) -> bool:
    scores = _scores(run, subset)
    return scores.exists() and scores.stat().st_mtime >= run.checkpoint.stat().st_mtime


def _perplexity(run: Run, subset: str) -> float:
    scores = json.loads(_scores(run, subset).read_text(encoding="utf-8"))
    return round(scores["perplexity"], 4)


class _Scoring(Child):
    """``scripts.perplexity`` under way."""

    def __init__(self, run: Run, subset: str, data: Path, place: Place) -> None:
        scores = _scores(run, subset)
        command = [sys.executable, "-m", "scripts.perplexity", str(run.checkpoint)]
        command += ["--data", str(data), "--subset", subset, "--json", str(scores)]
        what = f"scoring of {run.name} on {subset}"
        print(what, file=sys.stderr)
        super().__init__(what, command, scores.with_suffix(".log"), place)


def _figure(figure: Any) -> str:
    return f"{figure:,}" if isinstance(figure, int) else mean_and_sd(figure, places=1)


def _given(figure: Any) -> str:
    return "–" if figure is None else str(figure)


def _score(row: Row, baseline: Row, subset: str) -> Score:
    over = row[subset]
    return Score(
        value=over["mean"],
        sd=over["sd"],
        interval=interval_of_mean(over),
        difference=None if row is baseline else over["mean"] - baseline[subset]["mean"],
        paper=row[PAPER[subset]],
    )

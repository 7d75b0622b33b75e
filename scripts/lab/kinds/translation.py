"""How translation experiments are scored: BLEU, chrF and TER on raw test sets."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from scripts.lab.figures.translation import figures
from scripts.lab.kinds.kind import Kind, Trained
from scripts.lab.records import joining
from scripts.lab.records.schema import (
    Comparison,
    MetricScore,
    TestScores,
    TranslationRecord,
    TranslationRow,
    VocabularySizes,
)
from scripts.lab.records.seeds import over_seeds
from scripts.lab.run.processes import call
from scripts.lab.run.training import Run
from tiednmt.text.lines import read_lines

SAMPLES = 5

Scores = Mapping[str, Any]  # the JSON of scripts.evaluate


# --- scoring -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class TranslationScoring:
    """BLEU, chrF and TER of raw test sets; paired bootstrap and samples of the first seed."""

    baselines: Sequence[str]  # the rows that the others are compared with; sizes with the first
    subsets: Sequence[str]  # test sets
    beam: int

    packages: ClassVar[Sequence[str]] = ("sacrebleu", "subword-nmt", "sacremoses")
    measures_similarity: ClassVar[bool] = False

    def score(self, trained: Trained) -> dict[str, Any]:
        """The rows with their scores, comparisons, samples."""
        raw = trained.data / "raw"
        manifest = json.loads((trained.data / "manifest.json").read_text(encoding="utf-8"))
        scores = [self._scores(trained, i) for i in range(len(trained.seeds))]
        return {
            "baseline": self.baselines[0],
            "rows": self._rows(trained, scores),
            "comparisons": {
                subset: [Comparison(**comparison) for comparison in result["comparisons"]]
                for subset, result in scores[0]["subset"].items()
            },
            "beam": self.beam,
            "vocabulary": VocabularySizes(**manifest["vocabulary"]),
            "samples": _samples(scores[0], raw, manifest),
        }

    def _scores(self, trained: Trained, i: int) -> Scores:
        """``scripts.evaluate`` over the rows of the seed at ``i``; the baseline comes first."""
        runs = {name: of_row[i] for name, of_row in trained.runs.items()}
        suffix = "" if trained.seeds[i] == 1 else f"-seed-{trained.seeds[i]}"
        scores = trained.out / f"scores{suffix}.json"
        newest = max(run.checkpoint.stat().st_mtime for run in runs.values())
        if not scores.exists() or scores.stat().st_mtime < newest or not self._covers(scores):
            output = trained.out / f"translations{suffix}"
            call(self._evaluate(runs, trained.data, scores, output))
        return json.loads(scores.read_text(encoding="utf-8"))

    def _covers(self, scores: Path) -> bool:
        """Whether the scores of an earlier run compare with all baselines on all test sets."""
        found = json.loads(scores.read_text(encoding="utf-8"))["subset"]
        return {*self.subsets} <= found.keys() and all(
            len(result["systems"]) == 1
            or {*self.baselines} <= {comparison["baseline"] for comparison in result["comparisons"]}
            for result in found.values()
        )

    def _evaluate(
        self, runs: Mapping[str, Run], data: Path, scores: Path, output: Path
    ) -> list[str]:
        names = sorted(runs, key=lambda name: name != self.baselines[0])
        command = [sys.executable, "-m", "scripts.evaluate"]
        command += [f"{name}={runs[name].checkpoint}" for name in names]
        command += ["--data", str(data), "--beam", str(self.beam)]
        command += ["--json", str(scores), "--output", str(output)]
        for option, values in (("--baseline", self.baselines), ("--subset", self.subsets)):
            for value in values:
                command += [option, value]
        return command

    def _rows(self, trained: Trained, scores: Sequence[Scores]) -> list[TranslationRow]:
        whole = next(row.parameters for row in trained.rows if row.name == self.baselines[0])
        return [
            TranslationRow(
                **vars(row),
                share=round(row.parameters / whole, 4),
                test={
                    subset: _test_scores([_system(one, subset, row.name) for one in scores])
                    for subset in self.subsets
                },
            )
            for row in trained.rows
        ]


def _test_scores(systems: Sequence[Mapping[str, Any]]) -> TestScores:
    """The first seed's scores, and the statistics of all."""
    return TestScores(
        **{
            metric: MetricScore(
                **systems[0][metric],
                over_seeds=over_seeds([system[metric]["score"] for system in systems]),
            )
            for metric in ("bleu", "chrf", "ter")
        }
    )


def _system(scores: Scores, subset: str, name: str) -> Mapping[str, Any]:
    systems = scores["subset"][subset]["systems"]
    return next(system for system in systems if system["name"] == name)


def _samples(scores: Scores, raw: Path, manifest: Mapping[str, Any]) -> list[dict[str, str]]:
    """Sentences spread over the first test set, with every row's translation."""
    subset, result = next(iter(scores["subset"].items()))
    columns = {
        "source": raw / f"{subset}.{manifest['source']}",
        "reference": raw / f"{subset}.{manifest['target']}",
        **{system["name"]: Path(system["translations"]) for system in result["systems"]},
    }
    lines = {name: list(read_lines(path)) for name, path in columns.items()}
    count = len(lines["source"])
    return [
        {name: text[i * count // SAMPLES] for name, text in lines.items()} for i in range(SAMPLES)
    ]


KIND = Kind(
    record=TranslationRecord,
    scoring=TranslationScoring,
    task="translation",
    figures=figures,
    join=joining.whole,
)

"""How translation experiments are scored and shown: BLEU and chrF on raw test sets."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from matplotlib.figure import Figure

from preprocess.files import read_lines
from scripts.lab.kinds.kind import Figures, Kind, Trained
from scripts.lab.records import joining
from scripts.lab.records.figures import Measure, Score
from scripts.lab.records.schema import (
    Comparison,
    MetricScore,
    TestScores,
    TranslationRecord,
    TranslationRow,
    VocabularySizes,
)
from scripts.lab.records.seeds import interval_of_mean, mean_and_sd, over_seeds
from scripts.lab.run.processes import call
from scripts.lab.run.training import Run
from scripts.lab.score.bleu import compare
from scripts.lab.show.markdown import duration, markdown, trained_on
from scripts.lab.show.pictures import CurveAxes, plot_curves, save

MEGABYTE = 1_000_000
SAMPLES = 5
METRICS = {"bleu": "BLEU", "chrf": "chrF"}  # what tables show

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
            "comparisons": self._comparisons(scores[0], raw, manifest["target"]),
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
        if not scores.exists() or scores.stat().st_mtime < newest:
            output = trained.out / f"translations{suffix}"
            call(self._evaluate(runs, trained.data, scores, output))
        return json.loads(scores.read_text(encoding="utf-8"))

    def _evaluate(
        self, runs: Mapping[str, Run], data: Path, scores: Path, output: Path
    ) -> list[str]:
        names = sorted(runs, key=lambda name: name != self.baselines[0])
        command = [sys.executable, "-m", "scripts.evaluate"]
        command += [f"{name}={runs[name].checkpoint}" for name in names]
        command += ["--data", str(data), "--beam", str(self.beam)]
        command += ["--json", str(scores), "--output", str(output)]
        for subset in self.subsets:
            command += ["--subset", subset]
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

    def _comparisons(self, scores: Scores, raw: Path, language: str) -> dict[str, list[Comparison]]:
        """Every row against every baseline, by test set."""
        comparisons: dict[str, list[Comparison]] = {}
        for subset, result in scores["subset"].items():
            found = [Comparison(**comparison) for comparison in result["comparisons"]]
            texts = {
                system["name"]: list(read_lines(Path(system["translations"])))
                for system in result["systems"]
            }
            references = list(read_lines(raw / f"{subset}.{language}"))
            for baseline in self.baselines[1:]:
                others = {name: text for name, text in texts.items() if name != baseline}
                more = compare({baseline: texts[baseline], **others}, references)
                found += [Comparison(**asdict(comparison)) for comparison in more]
            comparisons[subset] = found
        return comparisons


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


# --- figures -----------------------------------------------------------------------------------


def table(record: TranslationRecord) -> str:
    """Sizes, scores with their signatures, times and the comparisons with the baselines."""
    head = ["", "parameters", f"of {record.baseline}", "checkpoint"]
    for subset in record.rows[0].test:
        head += [f"{subset} BLEU", "chrF"]
    lines = [markdown([*head, "training"], map(_cells, record.rows))]
    lines += ["", conditions(record), "", *_comparison_lines(record)]
    scores = _first_scores(record)
    lines += [f"- {name}: `{getattr(scores, key).signature}`" for key, name in METRICS.items()]
    return "\n".join(lines)


def conditions(record: TranslationRecord) -> str:
    """Beam, seeds, training, machine and sizes of the vocabularies."""
    sizes, seeds = record.vocabulary, _seeds(record)
    spread = f"Mean ± standard deviation of {seeds} seeds. " if seeds > 1 else ""
    return (
        f"{record.title}. {spread}Beam {record.beam}, "
        f"{record.rows[0].updates:,} updates a row, {trained_on(record.machine)}. "
        f"Rows of the embeddings: three times {sizes.joint:,} for none (separate "
        f"dictionaries would need {sizes.source:,} + 2 × {sizes.target:,}), once for "
        "three-way."
    )


def measures(record: TranslationRecord) -> list[Measure]:
    """BLEU and chrF by test set; differences are to the record's ``baseline``."""
    return [
        Measure(
            metric=name,
            subset=subset,
            scores={row.name: _score(record, row, subset, key) for row in record.rows},
            places=2,
            drawn=key == "bleu",
            headline=key == "bleu",
            signature=getattr(scores, key).signature,
        )
        for subset, scores in record.rows[0].test.items()
        for key, name in METRICS.items()
    ]


def page(record: TranslationRecord) -> str:
    """The table and the sample translations, one block per sentence."""
    samples = (
        "\n".join(f"- {name}: {text}" for name, text in sample.items()) for sample in record.samples
    )
    return "\n\n".join((table(record), *samples))


CURVE_AXES = CurveAxes(
    x="update", y=lambda point: point.nll, y_label="validation loss (nats a subword)"
)


def plot(record: TranslationRecord, out: Path) -> None:
    """``learning-curves`` and ``bleu-over-parameters``."""
    plot_curves(record, out / "learning-curves", CURVE_AXES)
    _plot_bleu_over_parameters(record, out / "bleu-over-parameters")


def _cells(row: TranslationRow) -> list[str]:
    return [
        row.name,
        f"{row.parameters:,}",
        f"{row.share:.1%}",
        f"{row.checkpoint_bytes / MEGABYTE:.1f} MB",
        *(
            mean_and_sd(getattr(scores, metric).over_seeds, places=2)
            for scores in row.test.values()
            for metric in METRICS
        ),
        duration(row.training_seconds),
    ]


def _first_scores(record: TranslationRecord) -> TestScores:
    return next(iter(record.rows[0].test.values()))


def _seeds(record: TranslationRecord) -> int:
    return _first_scores(record).bleu.over_seeds.seeds


def _score(record: TranslationRecord, row: TranslationRow, subset: str, metric: str) -> Score:
    """Of one seed: sacreBLEU's bootstrap. Of several: their spread, whose test is nobody's."""
    score: MetricScore = getattr(row.test[subset], metric)
    over = score.over_seeds
    baseline = next(r for r in record.rows if r.name == record.baseline)
    difference = p_value = None
    if row is not baseline and over.seeds > 1:
        difference = over.mean - getattr(baseline.test[subset], metric).over_seeds.mean
    elif row is not baseline:
        comparison = next(
            c
            for c in record.comparisons[subset]
            if (c.baseline, c.system, c.metric) == (record.baseline, row.name, metric)
        )
        difference, p_value = comparison.delta, comparison.p_value
    return Score(
        value=over.mean,
        sd=over.sd,
        interval=interval_of_mean(over) or score.ci,
        difference=difference,
        p_value=p_value,
    )


def _comparison_lines(record: TranslationRecord) -> list[str]:
    how = "paired bootstrap" + (" of the first seed" if _seeds(record) > 1 else "")
    lines = []
    for subset, comparisons in record.comparisons.items():
        texts: dict[str, list[str]] = {}
        for c in comparisons:
            if c.metric == "bleu":
                text = f"{c.system} {c.delta:+.2f} (p = {c.p_value:.3f})"
                texts.setdefault(c.baseline, []).append(text)
        lines += [
            f"- {subset}, BLEU against {baseline}, {how}: {', '.join(of_baseline)}"
            for baseline, of_baseline in texts.items()
        ]
    return lines


def _plot_bleu_over_parameters(record: TranslationRecord, path: Path) -> None:
    """With 95 % bootstrap intervals of the first seed, a point per row, a panel per test set."""
    subsets = list(record.rows[0].test)
    figure = Figure(figsize=(5 * len(subsets), 4), layout="constrained")
    panels = figure.subplots(1, len(subsets), squeeze=False)
    for axes, subset in zip(panels[0], subsets, strict=True):
        for row in record.rows:
            bleu = row.test[subset].bleu
            low, high = bleu.ci
            axes.errorbar(
                row.parameters / 1e6,
                bleu.score,
                yerr=[[max(0.0, bleu.score - low)], [max(0.0, high - bleu.score)]],
                fmt="o",
                capsize=3,
                label=row.name,
            )
        axes.set(title=subset, xlabel="parameters (millions)", ylabel="BLEU")
        axes.set_xlim(left=0)
        axes.legend(frameon=False, loc="lower left")
    figure.suptitle(record.title)
    save(figure, path)


KIND = Kind(
    record=TranslationRecord,
    scoring=TranslationScoring,
    task="translation",
    figures=Figures(table, page, conditions, plot, measures, CURVE_AXES),
    join=joining.whole,
)

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
from scripts.lab.records.figures import Measure, Score
from scripts.lab.records.seeds import interval_of_mean, mean_and_sd, over_seeds
from scripts.lab.run.processes import call
from scripts.lab.run.training import Run
from scripts.lab.score.bleu import compare
from scripts.lab.show.markdown import duration, markdown, trained_on
from scripts.lab.show.pictures import CurveAxes, plot_curves, save

MEGABYTE = 1_000_000
SAMPLES = 5
METRICS = {"bleu": "BLEU", "chrf": "chrF"}  # what tables show

Row = dict[str, Any]


@dataclass(frozen=True)
class TranslationResults:
    """The settings of a translation experiment, and what is made of its runs."""

    baselines: Sequence[str]  # the rows that the others are compared with; sizes with the first
    subsets: Sequence[str]  # test sets
    beam: int

    packages: ClassVar = ("sacrebleu", "subword-nmt", "sacremoses")
    measures_similarity: ClassVar = False
    curve_axes: ClassVar[CurveAxes] = CurveAxes(
        x="update", y=lambda point: point["nll"], y_label="validation loss (nats a subword)"
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
        """What the record says of the scores: the rows with theirs, comparisons, samples.

        Translations and paired bootstrap are those of the first seed.
        """
        manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
        scores = [
            self._scores({row: of_row[i] for row, of_row in runs.items()}, data, out, seed)
            for i, seed in enumerate(seeds)
        ]
        whole = next(row["parameters"] for row in rows if row["name"] == self.baselines[0])
        return {
            "baseline": self.baselines[0],
            "rows": [
                {
                    **row,
                    "share": round(row["parameters"] / whole, 4),
                    "test": self._tests(row["name"], scores),
                }
                for row in rows
            ],
            "comparisons": self._comparisons(scores[0], data / "raw", manifest["target"]),
            "beam": self.beam,
            "vocabulary": manifest["vocabulary"],
            "samples": _samples(scores[0], data / "raw", manifest),
        }

    def _scores(self, runs: Mapping[str, Run], data: Path, out: Path, seed: int) -> dict[str, Any]:
        """The JSON of ``scripts.evaluate`` over the rows of one seed; the baseline comes first."""
        suffix = "" if seed == 1 else f"-seed-{seed}"
        scores = out / f"scores{suffix}.json"
        newest = max(run.checkpoint.stat().st_mtime for run in runs.values())
        if not scores.exists() or scores.stat().st_mtime < newest:
            names = sorted(runs, key=lambda name: name != self.baselines[0])
            command = [sys.executable, "-m", "scripts.evaluate"]
            command += [f"{name}={runs[name].checkpoint}" for name in names]
            command += ["--data", str(data), "--beam", str(self.beam)]
            command += ["--json", str(scores), "--output", str(out / f"translations{suffix}")]
            for subset in self.subsets:
                command += ["--subset", subset]
            call(command)
        return json.loads(scores.read_text(encoding="utf-8"))

    def _tests(self, row: str, seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """By test set and metric: the first seed's score, and ``over_seeds``."""
        tests: dict[str, Any] = {}
        for subset in self.subsets:
            found = [_system(scores, subset, row) for scores in seeds]
            tests[subset] = {
                metric: {
                    **found[0][metric],
                    "over_seeds": over_seeds([system[metric]["score"] for system in found]),
                }
                for metric in ("bleu", "chrf", "ter")
            }
        return tests

    def _comparisons(
        self, scores: Mapping[str, Any], raw: Path, language: str
    ) -> dict[str, list[dict[str, Any]]]:
        """Every row against every baseline, by test set."""
        comparisons: dict[str, list[dict[str, Any]]] = {}
        for subset, result in scores["subset"].items():
            comparisons[subset] = list(result["comparisons"])
            texts = {
                system["name"]: list(read_lines(Path(system["translations"])))
                for system in result["systems"]
            }
            references = list(read_lines(raw / f"{subset}.{language}"))
            for baseline in self.baselines[1:]:
                others = {name: text for name, text in texts.items() if name != baseline}
                found = compare({baseline: texts[baseline], **others}, references)
                comparisons[subset] += [asdict(comparison) for comparison in found]
        return comparisons

    @staticmethod
    def table(record: Mapping[str, Any]) -> str:
        """Sizes, scores with their signatures, times and the comparisons with the baselines."""
        subsets = list(record["rows"][0]["test"])
        head = ["", "parameters", f"of {record['baseline']}", "checkpoint"]
        for subset in subsets:
            head += [f"{subset} BLEU", "chrF"]
        lines = [markdown([*head, "training"], map(_cells, record["rows"]))]
        lines += ["", TranslationResults.conditions(record), "", *_comparison_lines(record)]
        scores = record["rows"][0]["test"][subsets[0]]
        lines += [f"- {name}: `{scores[key]['signature']}`" for key, name in METRICS.items()]
        return "\n".join(lines)

    @staticmethod
    def conditions(record: Mapping[str, Any]) -> str:
        """Beam, seeds, training, machine and sizes of the vocabularies."""
        types, seeds = record["vocabulary"], _seeds(record)
        spread = f"Mean ± standard deviation of {seeds} seeds. " if seeds > 1 else ""
        return (
            f"{record['title']}. {spread}Beam {record['beam']}, "
            f"{record['rows'][0]['updates']:,} updates a row, {trained_on(record['machine'])}. "
            f"Rows of the embeddings: three times {types['joint']:,} for none (separate "
            f"dictionaries would need {types['source']:,} + 2 × {types['target']:,}), once for "
            "three-way."
        )

    @staticmethod
    def measures(record: Mapping[str, Any]) -> list[Measure]:
        """BLEU and chrF by test set; differences are to the record's ``baseline``."""
        return [
            Measure(
                metric=name,
                subset=subset,
                scores={row["name"]: _score(record, row, subset, key) for row in record["rows"]},
                places=2,
                drawn=key == "bleu",
                headline=key == "bleu",
                signature=record["rows"][0]["test"][subset][key]["signature"],
            )
            for subset in record["rows"][0]["test"]
            for key, name in METRICS.items()
        ]

    @staticmethod
    def page(record: Mapping[str, Any]) -> str:
        """The table and the sample translations, one block a sentence."""
        samples = (
            "\n".join(f"- {name}: {text}" for name, text in sample.items())
            for sample in record["samples"]
        )
        return "\n\n".join((TranslationResults.table(record), *samples))

    @staticmethod
    def plot(record: Mapping[str, Any], out: Path) -> None:
        """``learning-curves`` and ``bleu-over-parameters``."""
        plot_curves(record, out / "learning-curves", TranslationResults.curve_axes)
        _plot_bleu_over_parameters(record, out / "bleu-over-parameters")


def _system(scores: Mapping[str, Any], subset: str, name: str) -> Mapping[str, Any]:
    systems = scores["subset"][subset]["systems"]
    return next(system for system in systems if system["name"] == name)


def _samples(
    scores: Mapping[str, Any], raw: Path, manifest: Mapping[str, Any]
) -> list[dict[str, str]]:
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


def _cells(row: Row) -> list[str]:
    return [
        row["name"],
        f"{row['parameters']:,}",
        f"{row['share']:.1%}",
        f"{row['checkpoint_bytes'] / MEGABYTE:.1f} MB",
        *(
            mean_and_sd(scores[metric]["over_seeds"], places=2)
            for scores in row["test"].values()
            for metric in METRICS
        ),
        duration(row["training_seconds"]),
    ]


def _seeds(record: Mapping[str, Any]) -> int:
    subset = next(iter(record["rows"][0]["test"].values()))
    return subset["bleu"]["over_seeds"]["seeds"]


def _score(record: Mapping[str, Any], row: Row, subset: str, metric: str) -> Score:
    """Of one seed: sacreBLEU's bootstrap. Of several: their spread, whose test is nobody's."""
    found = row["test"][subset][metric]
    over = found["over_seeds"]
    baseline = next(r for r in record["rows"] if r["name"] == record["baseline"])
    if row is baseline:
        difference = p_value = None
    elif over["seeds"] > 1:
        whole = baseline["test"][subset][metric]["over_seeds"]["mean"]
        difference, p_value = over["mean"] - whole, None
    else:
        comparison = next(
            c
            for c in record["comparisons"][subset]
            if (c["baseline"], c["system"], c["metric"])
            == (record["baseline"], row["name"], metric)
        )
        difference, p_value = comparison["delta"], comparison["p_value"]
    return Score(
        value=over["mean"],
        sd=over["sd"],
        interval=interval_of_mean(over) or tuple(found["ci"]),
        difference=difference,
        p_value=p_value,
    )


def _comparison_lines(record: Mapping[str, Any]) -> list[str]:
    how = "paired bootstrap" + (" of the first seed" if _seeds(record) > 1 else "")
    lines = []
    for subset, comparisons in record["comparisons"].items():
        found: dict[str, list[str]] = {}
        for c in comparisons:
            if c["metric"] == "bleu":
                text = f"{c['system']} {c['delta']:+.2f} (p = {c['p_value']:.3f})"
                found.setdefault(c["baseline"], []).append(text)
        lines += [
            f"- {subset}, BLEU against {baseline}, {how}: {', '.join(texts)}"
            for baseline, texts in found.items()
        ]
    return lines


def _plot_bleu_over_parameters(record: Mapping[str, Any], path: Path) -> None:
    """With 95 % bootstrap intervals of the first seed, a point a row, a panel a test set."""
    subsets = list(record["rows"][0]["test"])
    figure = Figure(figsize=(5 * len(subsets), 4), layout="constrained")
    panels = figure.subplots(1, len(subsets), squeeze=False)
    for axes, subset in zip(panels[0], subsets, strict=True):
        for row in record["rows"]:
            bleu = row["test"][subset]["bleu"]
            low, high = bleu["ci"]
            axes.errorbar(
                row["parameters"] / 1e6,
                bleu["score"],
                yerr=[[max(0.0, bleu["score"] - low)], [max(0.0, high - bleu["score"])]],
                fmt="o",
                capsize=3,
                label=row["name"],
            )
        axes.set(title=subset, xlabel="parameters (millions)", ylabel="BLEU")
        axes.set_xlim(left=0)
        axes.legend(frameon=False, loc="lower left")
    figure.suptitle(record["title"])
    save(figure, path)

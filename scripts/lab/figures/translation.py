"""What is shown of a translation experiment: sizes, BLEU and chrF."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.lab.figures import uses
from scripts.lab.figures.experiment import (
    NOTE_OF_SEEDS,
    Measure,
    Score,
    duration,
    findings,
    lead,
    learning_curves,
    over_parameters,
    repeated,
    trained_on,
)
from scripts.lab.figures.parts import MEGABYTE
from scripts.lab.records.figures import Axis, Bullets, Cell, Figures, Part, Picture, Table
from scripts.lab.records.schema import Comparison, MetricScore, TranslationRecord, TranslationRow
from scripts.lab.records.seeds import interval_of_mean, mean_and_sd
from tiednmt.tying import NONE, TYINGS, embedding_rows

METRICS = {"bleu": "BLEU", "chrf": "chrF"}  # what tables show
LOSS = Axis("validation loss (nats a subword)")


def figures(record: TranslationRecord) -> Figures:
    """Sizes, scores with their signatures, times and the comparisons with the baselines."""
    rows, baseline = record.rows, _baseline(record)
    measures = [_measure(record, subset) for subset in baseline.test]
    curves = learning_curves(record, "update", LOSS, lambda point: point.nll)
    note = "Error bars: 95 % confidence interval, sacreBLEU's bootstrap over the sentences."
    others = len(rows) > 1
    first = lead(baseline, measures, others)
    if _seeds(record) == 1 and others:
        first += " Bold: a significant difference (paired bootstrap, p < 0.05)."
    return Figures(
        title=record.title,
        names=[row.name for row in rows],
        lead=first,
        findings=findings(rows, baseline, measures),
        summary=[
            Picture(
                "bleu-over-parameters",
                [over_parameters(measure, rows) for measure in measures],
                note=NOTE_OF_SEEDS if _seeds(record) > 1 else note,
            ),
            Picture("learning-curves", [curves]),
            _scores(record),
            conditions(record),
            Bullets([*_comparisons(record), *_signatures(record)]),
            *uses.in_summary(record),
        ],
        parts=[
            *([Part("Differences, and what chance makes of them", _tests(record))] * others),
            *uses.in_parts(record),
            *repeated(record, curves),
        ],
        samples=record.samples,
    )


def conditions(record: TranslationRecord) -> str:
    """Beam, seeds, training, machine and sizes of the vocabularies."""
    seeds = _seeds(record)
    spread = f"Mean ± standard deviation of {seeds} seeds. " if seeds > 1 else ""
    return (
        f"{record.title}. {spread}Beam {record.beam}, "
        f"{record.rows[0].updates:,} updates a row, {trained_on(record.machine)}. "
        f"{_embedding_rows(record)}"
    )


def _embedding_rows(record: TranslationRecord) -> str:
    """How often the joint dictionary is stored where least and where most is tied."""
    sizes = record.vocabulary
    modes = {str(row.recipe["model"].get("tying")) for row in record.rows} & {*TYINGS}
    stored = sorted((embedding_rows(mode, 1, 1, 1), mode) for mode in modes)
    if not stored:
        return ""
    (fewest, most_tied), (most, least_tied) = stored[0], stored[-1]
    apart = f"{sizes.source:,} + 2 × {sizes.target:,}"
    separate = f" (separate dictionaries would need {apart})" if least_tied == NONE else ""
    text = f"Rows of the embeddings: {_TIMES[most]} {sizes.joint:,} for {least_tied}{separate}"
    return text + (f", {_TIMES[fewest]} for {most_tied}." if fewest < most else ".")


_TIMES = {1: "once", 2: "twice", 3: "three times"}


def _baseline(record: TranslationRecord) -> TranslationRow:
    return next(row for row in record.rows if row.name == record.baseline)


def _seeds(record: TranslationRecord) -> int:
    return next(iter(record.rows[0].test.values())).bleu.over_seeds.seeds


def _scores(record: TranslationRecord) -> Table:
    head = ["", "parameters", f"of {record.baseline}", "checkpoint"]
    for subset in record.rows[0].test:
        head += [f"{subset} BLEU", "chrF"]
    rows: list[list[str | Cell]] = [
        [
            row.name,
            f"{row.parameters:,}",
            f"{row.share:.1%}",
            f"{row.checkpoint_bytes / MEGABYTE:.1f} MB",
            *(_cell(getattr(scores, metric)) for scores in row.test.values() for metric in METRICS),
            duration(row.training_seconds),
        ]
        for row in record.rows
    ]
    caption = "Sizes and scores; below each score its 95 % interval"
    return Table([*head, "training"], rows, caption=caption)


def _cell(score: MetricScore) -> Cell:
    low, high = interval_of_mean(score.over_seeds) or score.ci
    return Cell(mean_and_sd(score.over_seeds, places=2), f"{low:.2f}–{high:.2f}")


def _measure(record: TranslationRecord, subset: str) -> Measure:
    """BLEU on a test set; differences are to the baseline."""
    scores = {row.name: _score(record, row, subset) for row in record.rows}
    return Measure(METRICS["bleu"], subset, scores, places=2)


def _score(record: TranslationRecord, row: TranslationRow, subset: str) -> Score:
    """Of one seed: sacreBLEU's bootstrap. Of several: their spread, whose test is nobody's."""
    score, baseline = row.test[subset].bleu, _baseline(record)
    over = score.over_seeds
    difference = p_value = None
    if row is not baseline and over.seeds > 1:
        difference = over.mean - baseline.test[subset].bleu.over_seeds.mean
    elif row is not baseline:
        wanted = (record.baseline, row.name, "bleu")
        (test,) = (
            c for c in record.comparisons[subset] if (c.baseline, c.system, c.metric) == wanted
        )
        difference, p_value = test.delta, test.p_value
    interval = interval_of_mean(over) or score.ci
    return Score(over.mean, interval, difference, p_value)


def _comparisons(record: TranslationRecord) -> list[str]:
    how = "paired bootstrap" + (" of the first seed" if _seeds(record) > 1 else "")
    lines = []
    for subset, comparisons in record.comparisons.items():
        by_baseline: dict[str, list[str]] = {}
        for c in comparisons:
            if c.metric == "bleu":
                text = f"{c.system} {c.delta:+.2f} (p = {c.p_value:.3f})"
                by_baseline.setdefault(c.baseline, []).append(text)
        lines += [
            f"{subset}, BLEU against {baseline}, {how}: {', '.join(texts)}"
            for baseline, texts in by_baseline.items()
        ]
    return lines


def _signatures(record: TranslationRecord) -> list[str]:
    scores = next(iter(record.rows[0].test.values()))
    return [f"{name}: `{getattr(scores, key).signature}`" for key, name in METRICS.items()]


def _tests(record: TranslationRecord) -> list[Table]:
    """Of each baseline: every metric on every test set, with its p."""
    every = [(subset, c) for subset, of in record.comparisons.items() for c in of]
    return [
        _tests_against(baseline, [(subset, c) for subset, c in every if c.baseline == baseline])
        for baseline in dict.fromkeys(c.baseline for _, c in every)
    ]


def _tests_against(baseline: str, tests: Sequence[tuple[str, Comparison]]) -> Table:
    cells = {
        (c.system, subset, c.metric): Cell(f"{c.delta:+.2f}", f"p = {c.p_value:.3f}")
        for subset, c in tests
        if c.metric in METRICS
    }
    columns = list(dict.fromkeys((subset, metric) for _, subset, metric in cells))
    return Table(
        ["", *(f"{subset} {METRICS[metric]}" for subset, metric in columns)],
        [
            [system, *(cells.get((system, *column), "") for column in columns)]
            for system in dict.fromkeys(system for system, _, _ in cells)
        ],
        caption=f"Score less that of {baseline}; p by paired bootstrap of the first seed",
    )

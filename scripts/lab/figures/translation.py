"""Tables and charts of a translation experiment: sizes, scores, and what sets the rows apart."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.lab.figures import uses
from scripts.lab.figures.experiment import (
    Measure,
    Score,
    duration,
    findings,
    lead,
    learning_curves,
    over_parameters,
    repeated,
    scored_checkpoints,
    spread,
    trained_on,
)
from scripts.lab.records.schema import TranslationRecord, TranslationRow
from tiednmt.errors import UserError
from tiednmt.metrics import (
    BETTER,
    METRICS,
    NOT_WORSE,
    loss,
    signed,
    signed_interval,
    what_was_sampled,
)
from tiednmt.modes import NONE, TYINGS
from tiednmt.seeds import Interval, SeedStatistics, mean_and_sd, over_seeds
from tiednmt.show.figures import Axis, Bullets, Cell, Figures, Part, Picture, Table
from tiednmt.show.parts import MEGABYTE, p_text
from tiednmt.translation.significance import (
    Estimate,
    RunScore,
    difference,
    mean_of_independent,
    mean_of_test_sets,
    mean_score,
)
from tiednmt.tying import embedding_rows

MEAN = "mean"  # of all test sets
LOSS = Axis("validation loss (nats per subword)")


def figures(record: TranslationRecord) -> Figures:
    """Sizes, scores with their signatures, times and the comparisons with the baselines."""
    rows = record.rows
    baseline = _row(record, record.baselines[0]) if record.baselines else None
    measures = [_measure(record, place) for place in _places(record)]
    curves = learning_curves(record, "update", LOSS, lambda point: point.nll)
    others = _is_compared(record)
    return Figures(
        title=record.title,
        names=record.row_names,
        lead=lead(baseline, measures, others) + " Bold: p < 0.05." * others if baseline else "",
        findings=findings(rows, baseline, measures) if baseline else (),
        summary=[
            Picture(
                "bleu-over-parameters",
                [over_parameters(measure, rows) for measure in measures if measure.subset != MEAN],
                note=f"Error bars: 95% confidence interval, {_about_scores(record)}.",
            ),
            Picture("learning-curves", [curves]),
            _sizes_and_scores(record),
            conditions(record),
            Bullets(
                [*_taught(record), *_notes(record), *_signatures(record, _shown_first(record))]
            ),
            *uses.in_summary(record),
        ],
        parts=[
            *([Part("Differences, and what chance makes of them", _tests(record))] * others),
            _further_scores(record),
            *uses.in_parts(record),
            *repeated(record, curves),
        ],
        samples=record.samples,
    )


def conditions(record: TranslationRecord) -> str:
    """Beam, seeds, training, machine and sizes of the vocabularies."""
    seconds = [row.training_seconds for row in record.rows]
    times = dict.fromkeys(map(duration, (min(seconds), max(seconds))))
    made = [row.updates for row in record.rows]
    updates = dict.fromkeys(f"{count:,}" for count in (min(made), max(made)))
    return (
        f"{record.title}. {_scored(record)}Beam {record.beam}{spread(record.rows)}; "
        f"{' to '.join(updates)} updates per row ({' to '.join(times)}), "
        f"{trained_on(record, record.earlier)}. {_embedding_rows(record)}"
    )


def _scored(record: TranslationRecord) -> str:
    """Which weights were scored, unless it is those with the lowest validation loss."""
    text = scored_checkpoints(record.rows)
    averaged = any(row.averaged for row in record.rows)
    return f"Scores are those of {text} (`scripts.average`). " if averaged else ""


def _embedding_rows(record: TranslationRecord) -> str:
    """How often the joint dictionary is stored with the least and the most tying."""
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


def _row(record: TranslationRecord, name: str) -> TranslationRow:
    return next(row for row in record.rows if row.name == name)


def _is_compared(record: TranslationRecord) -> bool:
    """Whether there is a baseline, and another row to compare with it."""
    return bool(record.baselines) and len(record.rows) > 1


def _places(record: TranslationRecord) -> list[str]:
    """The test sets, and their mean where there are several."""
    subsets = [*record.rows[0].test]
    return [*subsets, *[MEAN] * (len(subsets) > 1)]


# --- scores and differences --------------------------------------------------------------------


def _runs(row: TranslationRow, place: str, metric: str) -> list[RunScore]:
    """The scores of each seed."""
    scores = [row.test[subset].by_metric[metric] for subset in _subsets(row, place)]
    return mean_of_test_sets([[seed.run for seed in score.seeds] for score in scores])


def _subsets(row: TranslationRow, place: str) -> list[str]:
    return [*row.test] if place == MEAN else [place]


def _score(row: TranslationRow, place: str, metric: str) -> tuple[SeedStatistics, Interval]:
    """The mean over the seeds, and its interval."""
    runs = _runs(row, place, metric)
    return over_seeds([run.score for run in runs]), mean_score(runs).interval


def _difference(
    record: TranslationRecord, name: str, baseline: str, place: str, metric: str
) -> Estimate:
    """How a row differs from a baseline."""
    return difference(*(_runs(_row(record, one), place, metric) for one in (name, baseline)))


def _first_difference(
    record: TranslationRecord, row: TranslationRow, place: str
) -> Estimate | None:
    """How a row differs from the first baseline in BLEU; None if there is none, or it is that."""
    if not record.baselines or row.name == record.baselines[0]:
        return None
    return _difference(record, row.name, record.baselines[0], place, "bleu")


def _at_worst(found: Estimate) -> float:
    """By how much a difference in BLEU may be to the worse; one-sided, 95%."""
    return found.not_worse_by(BETTER["bleu"])


def _about_differences(record: TranslationRecord) -> str:
    """What differences from the baseline, their intervals and p were sampled over."""
    seeds = {row.name: len(row.seeds) for row in record.rows}
    first = seeds.pop(record.baselines[0])
    return what_was_sampled({first + count > 2 for count in seeds.values()})


def _about_scores(record: TranslationRecord) -> str:
    """What the intervals of scores were sampled over."""
    return what_was_sampled({len(row.seeds) > 1 for row in record.rows})


def _measure(record: TranslationRecord, place: str) -> Measure:
    """BLEU on a test set; differences are to the first baseline."""
    scores = {}
    for row in record.rows:
        over, interval = _score(row, place, "bleu")
        found = _first_difference(record, row, place)
        scores[row.name] = Score(
            over.mean,
            interval,
            *((found.value, found.p_value, _at_worst(found)) if found else ()),
        )
    return Measure(METRICS["bleu"], place, scores, places=2)


# --- tables ------------------------------------------------------------------------------------


def _sizes_and_scores(record: TranslationRecord) -> Table:
    """A line per row and test set: its size, its BLEU, and how far that is from the baseline's.

    The difference is in BLEU of cased text.
    """
    places = _places(record)
    several, others, shares = len(places) > 1, _is_compared(record), bool(record.baselines)
    lines: list[list[str | Cell]] = []
    for place in places:
        for row in record.rows:
            found = _first_difference(record, row, place)
            lines.append(
                [
                    row.name,
                    *[place] * several,
                    f"{row.parameters:,}",
                    *["–" if row.share is None else f"{row.share:.1%}"] * shares,
                    *(_score_cell(row, place, metric) for metric in _shown_first(record)),
                    *(_difference_cells(found) if others else []),
                ]
            )
    head = ["", *["test set"] * several, "parameters"]
    head += [f"of {name}" for name in record.baselines[:1]]
    shown = [METRICS[metric] for metric in _shown_first(record)]
    head += shown if several else [f"{places[0]} {metric}" for metric in shown]
    head += _difference_heads(record) if others else []
    caption = "Sizes and scores; below each score its 95% interval"
    return Table(head, lines, left=1 + several, caption=caption)


def _difference_heads(record: TranslationRecord) -> list[str]:
    return [f"against {record.baselines[0]}", NOT_WORSE, "p"]


def _difference_cells(found: Estimate | None) -> list[str]:
    """The cells of a difference, empty for the baseline itself."""
    if found is None:
        return ["", "", ""]
    return [signed(found.value), loss(_at_worst(found)), p_text(found.p_value)]


def _score_cell(row: TranslationRow, place: str, metric: str) -> Cell:
    over, (low, high) = _score(row, place, metric)
    return Cell(mean_and_sd(over, places=2), f"{low:.2f}–{high:.2f}")


def _further_scores(record: TranslationRecord) -> Part:
    """What the table of sizes and scores leaves out."""
    metrics = [metric for metric in _metrics(record) if metric not in _shown_first(record)]
    places = [*record.rows[0].test]
    rows: list[list[str | Cell]] = [
        [
            row.name,
            f"{row.checkpoint_bytes / MEGABYTE:.1f} MB",
            duration(row.training_seconds),
            *(_score_cell(row, place, metric) for place in places for metric in metrics),
        ]
        for row in record.rows
    ]
    title = "Checkpoints and further scores"
    head = [f"{place} {METRICS[metric]}" for place in places for metric in metrics]
    caption = f"{title}; below each score its 95% interval"
    table = Table(["", "checkpoint", "training", *head], rows, caption=caption)
    return Part(title, [table, Bullets(_signatures(record, metrics))])


def _metrics(record: TranslationRecord) -> list[str]:
    """The metrics that every row was scored with."""
    every = [of.by_metric for row in record.rows for of in row.test.values()]
    return [metric for metric in METRICS if all(metric in of for of in every)]


def _shown_first(record: TranslationRecord) -> list[str]:
    """BLEU of cased text, and of lower-cased tokens where it is known."""
    return [metric for metric in _metrics(record) if metric in ("bleu", "tokenised_bleu")]


def _tests(record: TranslationRecord) -> list[Table]:
    """A table per baseline: differences in every metric on every test set, with interval and p."""
    return [_tests_against(record, baseline) for baseline in record.baselines]


def _tests_against(record: TranslationRecord, baseline: str) -> Table:
    metrics, places = _metrics(record), _places(record)
    lines: list[list[str | Cell]] = [
        [
            row.name,
            place,
            *(_test_cell(_difference(record, row.name, baseline, place, m)) for m in metrics),
        ]
        for place in places
        for row in record.rows
        if row.name != baseline
    ]
    caption = f"Score less that of {baseline}; {_about_differences(record)}"
    return Table(["", "test set", *(METRICS[m] for m in metrics)], lines, left=2, caption=caption)


def _test_cell(found: Estimate) -> Cell:
    interval = signed_interval(found.interval)
    return Cell(signed(found.value), f"{interval}, p = {p_text(found.p_value)}")


# --- in words ----------------------------------------------------------------------------------


def _taught(record: TranslationRecord) -> list[str]:
    """Which rows learned from the translations of others."""
    pairs = [f"{row.name} from {' + '.join(row.teachers)}" for row in record.rows if row.teachers]
    return [f"Knowledge distillation: {'; '.join(pairs)}"] if pairs else []


def _notes(record: TranslationRecord) -> list[str]:
    """What the differences mean, and the differences from further baselines."""
    if not _is_compared(record):
        return []
    lines = [f"Differences: {_about_differences(record)}"]
    for baseline in record.baselines[1:]:
        for place in _places(record):
            found = {
                name: _difference(record, name, baseline, place, "bleu")
                for name in record.row_names
                if name != baseline
            }
            texts = [f"{n} {signed(d.value)} (p = {p_text(d.p_value)})" for n, d in found.items()]
            lines.append(f"{place}, BLEU against {baseline}: {', '.join(texts)}")
    return lines


def _signatures(record: TranslationRecord, metrics: Sequence[str]) -> list[str]:
    scores = next(iter(record.rows[0].test.values())).by_metric
    return [f"{METRICS[metric]}: `{scores[metric].signature}`" for metric in metrics]


# --- several experiments -----------------------------------------------------------------------


def mean_over_experiments(records: Sequence[TranslationRecord]) -> Table:
    """BLEU of the rows that experiments on several corpora share, averaged over the experiments.

    Each experiment counts with the mean over its test sets. They must not share runs or sentences.

    Raises:
        UserError: they have different baselines.
    """
    first = records[0]
    for record in records:
        if record.baselines[:1] != [first.baseline]:
            raise UserError(
                f"{record.experiment}: its baseline is not that of {first.experiment}, so that it "
                "is in no common table"
            )
    shared = [name for name in first.row_names if all(name in of.row_names for of in records)]
    lines: list[list[str]] = []
    for name in shared:
        runs = [_runs(_row(record, name), MEAN, "bleu") for record in records]
        mean = sum(mean_score(of).value for of in runs) / len(records)
        estimate = None
        if name != first.baseline:
            against = [_runs(_row(record, first.baseline), MEAN, "bleu") for record in records]
            estimate = mean_of_independent([*map(difference, runs, against)])
        lines.append([name, f"{mean:.2f}", *_difference_cells(estimate)])
    return Table(["", "mean BLEU", *_difference_heads(first)], lines)


def about_mean_differences(records: Sequence[TranslationRecord]) -> str:
    """What the differences of :func:`mean_over_experiments` were sampled over."""
    about = [_about_differences(record) for record in records]
    if len({*about}) == 1:
        return about[0]
    pairs = zip(records, about, strict=True)
    return "; ".join(f"{record.title}: {of_one}" for record, of_one in pairs)


def at_a_glance(records: Sequence[TranslationRecord]) -> Table:
    """A column per tying: parameters of the first experiment's rows, then BLEU of all experiments.

    Only rows that every experiment has are shown. In brackets are the difference to the baseline
    and that difference's one-sided 95% bound.
    """
    first = records[0]
    shared = [name for name in first.row_names if all(name in of.row_names for of in records)]
    sizes = [_row(first, name) for name in shared]
    lines = [[f"parameters, {first.title}", *(_size_of(row) for row in sizes)]]
    for record in records:
        for place in record.rows[0].test:
            of = f"{record.title}, {place}" if len(record.rows[0].test) > 1 else record.title
            cells = (_glance(record, _row(record, name), place) for name in shared)
            lines.append([f"BLEU, {of}", *cells])
    return Table(["", *shared], lines)


def _size_of(row: TranslationRow) -> str:
    millions = f"{row.parameters / 1e6:.2f}M"
    return millions if row.share in (None, 1) else f"{millions} ({row.share:.0%})"


def _glance(record: TranslationRecord, row: TranslationRow, place: str) -> str:
    over, _ = _score(row, place, "bleu")
    found = _first_difference(record, row, place)
    if found is None:
        return f"{over.mean:.2f}"
    return f"{over.mean:.2f} ({signed(found.value)}, at worst {signed(-_at_worst(found))})"


def claim(record: TranslationRecord, name: str) -> str:
    """How the row compares with the baseline in size and in BLEU, and how certain that is.

    Raises:
        UserError: the row or the baseline is not in the record.
    """
    if not {name, *record.baselines[:1]} <= {*record.row_names} or not record.baselines:
        raise UserError(f"{record.experiment}: the rows {name} and none are not both there")
    baseline, place = record.baselines[0], _places(record)[-1]
    row, found = _row(record, name), _difference(record, name, baseline, place, "bleu")
    score, other = (_score(of, place, "bleu")[0].mean for of in (row, _row(record, baseline)))
    on = "the mean of the test sets" if place == MEAN else place
    bound = loss(_at_worst(found), "not worse by more than ")
    return (
        f"{name} has {row.share or 1:.0%} of the parameters of {baseline}. Its BLEU on {on} is "
        f"{score:.2f}; {baseline} has {other:.2f}. The difference is {signed(found.value)} "
        f"(95% interval {signed_interval(found.interval)}): with 95% confidence, {name} is "
        f"{bound}. The interval is {_about_differences(record)}."
    )

"""What the records of trained rows have in common: scores, learning curves, how to repeat it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scripts.lab.records import settings
from scripts.lab.records.schema import (
    ExperimentRecord,
    Machine,
    Provenance,
    Record,
    SkipGramRecord,
    TrainedRow,
    Validation,
)
from tiednmt.metrics import NOT_WORSE, loss
from tiednmt.seeds import Interval
from tiednmt.show.figures import (
    Axis,
    Block,
    Cell,
    Chart,
    Code,
    Finding,
    Part,
    Point,
    Series,
    Table,
)
from tiednmt.show.parts import (
    curve_table,
    label,
    over_training,
    p_text,
)

NOTE_OF_SEEDS = "Error bars: 95% confidence interval of the mean over seeds (Student's t)."


@dataclass(frozen=True)
class Score:
    """The figure of a row. What is not known is None.

    Attributes:
        value: the mean over the seeds of the row.
        interval: its 95% confidence interval.
        difference: from the baseline.
        p_value: the probability that chance alone makes a difference as large.
        not_worse_by: with 95% confidence, the row is not worse than the baseline by more.
    """

    value: float
    interval: Interval | None = None
    difference: float | None = None
    p_value: float | None = None
    not_worse_by: float | None = None

    @property
    def significant(self) -> bool:
        """Whether p < 0.05."""
        return self.p_value is not None and self.p_value < 0.05


@dataclass(frozen=True)
class Measure:
    """One metric on one test set, for every row."""

    metric: str
    subset: str
    scores: Mapping[str, Score]  # by row
    places: int  # decimals that are shown
    better: str = "higher"


# --- scores ------------------------------------------------------------------------------------


def lead(baseline: TrainedRow, measures: Sequence[Measure], others: bool) -> str:
    """The size and scores of the row that the others are compared with."""
    name = baseline.name
    scores = ", ".join(
        f"{m.metric} {m.scores[name].value:.{m.places}f} on {m.subset}" for m in measures
    )
    against = "Against " if others else ""
    return f"{against}{name} ({baseline.parameters:,} parameters; {scores})."


def findings(
    rows: Sequence[TrainedRow], baseline: TrainedRow, measures: Sequence[Measure]
) -> list[Finding]:
    """How each other row compares with the baseline in size and scores."""
    return [
        Finding(
            title=row.name,
            big=f"{row.parameters / baseline.parameters:.1%}",
            text=f"of the parameters of {baseline.name}",
            details=[
                (f"{m.metric}, {m.subset}", _change(m.scores[row.name], m.places)) for m in measures
            ],
        )
        for row in rows
        if row is not baseline
    ]


def _change(score: Score, places: int) -> Cell:
    below = f"{score.value:.{places}f}"
    if score.not_worse_by is not None:
        below += f", {NOT_WORSE}: {loss(score.not_worse_by)}"
    if score.p_value is not None:
        below += f", p = {p_text(score.p_value)}"
    return Cell(f"{score.difference:+.{places}f}", below, strong=score.significant)


def over_parameters(measure: Measure, rows: Sequence[TrainedRow]) -> Chart:
    """A point per row: its score over its number of parameters, with its interval."""
    series = []
    for look, row in enumerate(rows):
        name, score = row.name, measure.scores[row.name]
        text = label(name, score.value, score.interval, measure.places)
        point = Point(row.parameters / 1e6, score.value, text, score.interval)
        series.append(Series(name, look, [point], joined=False))
    return Chart(
        title=f"{measure.metric}, {measure.subset}",
        description=f"{measure.metric} on {measure.subset} over millions of parameters; "
        + "; ".join(one.points[0].label for one in series),
        x=Axis("parameters (millions)", low=0),
        y=Axis(f"{measure.metric}, {measure.better} is better"),
        series=series,
    )


# --- learning curves ---------------------------------------------------------------------------


def learning_curves(
    record: ExperimentRecord, x: str, y: Axis, height: Callable[[Validation], float]
) -> Chart:
    """A line per run; runs of the same row look the same.

    Args:
        record: the record with the ``curves``.
        x: ``update`` or ``epoch``.
        y: the axis of the values.
        height: the value of a point.
    """
    runs = {
        name: [
            [(getattr(p, x), height(p)) for p in run if math.isfinite(height(p))] for run in seeds
        ]
        for name, seeds in record.curves.items()
    }
    return over_training("Learning curves", runs, y, x, [*record.curves])


# --- how to repeat it --------------------------------------------------------------------------


def repeated(record: Record, curves: Chart | None = None) -> list[Part]:
    """Commands, settings, versions and machine; then the figures of the learning curves."""
    rows = record.rows if isinstance(record, ExperimentRecord) else ()
    parts = [Part("Repeat it", [Code(record.command), *_settings(rows), *_where(record)])]
    commands = [Code(row.training_command, row.name) for row in rows]
    if isinstance(record, SkipGramRecord):
        commands = [Code(record.training_command)]
    if commands:
        parts.append(Part("Training commands of the first seed", commands, folded=True))
    if curves is not None:
        parts.append(Part("Figures of the learning curves", [curve_table(curves)], folded=True))
    return parts


def _settings(rows: Sequence[TrainedRow]) -> list[Block]:
    if not rows:
        return []
    compared = settings.compare([row.recipe for row in rows])
    apart = [
        [f"`{option}`", *("–" if text is None else text or "yes" for text in values)]
        for option, values in compared.apart.items()
    ]
    if any(row.teachers for row in rows):
        apart.insert(0, ["teachers", *(" + ".join(row.teachers) or "–" for row in rows)])
    common = [[f"`{option}`", text or "yes"] for option, text in compared.common.items()]
    head = ["option", *(row.name for row in rows)]
    tables = [Table(head, apart, left=len(head), caption="Settings that differ")] if apart else []
    return [*tables, Table(["option", "value"], common, left=2, caption="Settings of every model")]


def _where(record: Record) -> list[Block]:
    machine = {name.replace("_", " "): str(text) for name, text in vars(record.machine).items()}
    if isinstance(record, SkipGramRecord):  # gensim trains on one thread, whatever there are
        del machine["threads per run"]
    versions = {**record.versions, "Python": machine.pop("python")}
    return [
        Table(["package", "version"], [*map(list, versions.items())], left=2, caption="Versions"),
        Table(["what", "value"], [*map(list, machine.items())], left=2, caption="Machine"),
    ]


# --- in words ----------------------------------------------------------------------------------


def trained_on(record: Provenance, earlier: Sequence[Provenance] = ()) -> str:
    """Where an experiment's rows were trained, and how many at a time."""
    machines = [run.machine for run in (*earlier, record)]
    devices = dict.fromkeys(map(_device, machines))
    counts = sorted({machine.runs_side_by_side for machine in machines})
    many = " or ".join(map(str, counts))
    return f"trained on {' or '.join(devices)}, {many} run(s) in parallel"


def _device(machine: Machine) -> str:
    if machine.device != "CPU":
        return machine.device
    return f"{machine.processor} (CPU, {machine.threads_per_run} thread(s) per run)"


def scored_checkpoints(rows: Sequence[TrainedRow]) -> str:
    """Which weights were scored: ``the checkpoint that is …``, in words."""
    best = "the checkpoint that is best on the validation set"
    counts = sorted({row.averaged for row in rows} - {0})
    if not counts:
        return best
    means = f"the mean of the last {' or '.join(map(str, counts))} checkpoints"
    others = ", ".join(row.name for row in rows if not row.averaged)
    return f"{means} ({others}: {best})" if others else means


def spread(rows: Sequence[TrainedRow]) -> str:
    """The end of a sentence that says over how many seeds the means are, or nothing."""
    counts = {len(row.seeds) for row in rows}
    several = sorted(counts - {1})
    if not several:
        return ""
    where = " where a spread is shown" if 1 in counts else ""
    numbers = " or ".join(map(str, several))
    return f"; mean ± standard deviation of {numbers} seeds{where}"


def duration(seconds: float) -> str:
    """Seconds, or minutes where they are more than ten."""
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"

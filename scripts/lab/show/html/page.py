"""The page: what each section shows, and the template that shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.lab.kinds.embeddings import (
    ANSWERS,
    Compared,
    ComparedInSet,
    correlation_of,
    similarity_of,
)
from scripts.lab.kinds.translation import METRICS
from scripts.lab.records import settings
from scripts.lab.records.figures import Measure, Score
from scripts.lab.records.schema import (
    Comparison,
    EmbeddingRecord,
    ExperimentRecord,
    TrainedRow,
    TranslationRecord,
    Validation,
    names_in,
)
from scripts.lab.records.seeds import interval_of_mean
from scripts.lab.records.settings import Settings
from scripts.lab.show.html import analyses, charts, tie_maps
from scripts.lab.show.html.analyses import Embeddings, embeddings
from scripts.lab.show.html.charts import Chart, DotPlot
from scripts.lab.show.html.runs import AnalysisAlone, Run, Samples
from scripts.lab.show.markdown import duration
from scripts.lab.show.pictures import CurveAxes
from scripts.lab.store import kind_of
from tiednmt.errors import UserError
from tiednmt.tying import TieMap

LOOKS = 6  # colours and shapes that tell rows apart
Curves = Mapping[str, Sequence[Sequence[Validation]]]
SIMILARITY, LIKENESS = "Word similarity", "Likeness"


@dataclass(frozen=True)
class Finding:
    """What became of the baseline's size and scores in another row."""

    row: str
    number: int
    parameters: int
    share: float  # of the baseline's parameters
    scores: Sequence[tuple[Measure, Score]]


@dataclass(frozen=True)
class TieMaps:
    """The tie maps as a table and as bars whose length is parameters, by model."""

    columns: Sequence[str]
    cells: Mapping[str, Sequence[tuple[int, tie_maps.Piece | None]]]
    totals: Mapping[str, int]

    @property
    def largest(self) -> int:
        """Parameters of the longest bar."""
        return max(self.totals.values())


@dataclass(frozen=True)
class Section:
    """All that is shown of a run."""

    template: ClassVar = "run.html"

    anchor: str
    record: ExperimentRecord
    baseline: str
    findings: Sequence[Finding]
    measures: Sequence[Measure]
    conditions: str
    panels: Sequence[Chart]
    curves: Chart
    comparisons: Sequence[Mapping[str, Any]]  # each with its subset
    ties: TieMaps | None
    samples: Samples | None
    settings: Settings
    embeddings: Embeddings | None
    curve_columns: Sequence[str]
    curve_rows: Sequence[tuple[int, Sequence[float | None]]]  # the figures of ``curves``

    @property
    def title(self) -> str:
        """The record's."""
        return self.record.title

    @property
    def rows(self) -> Sequence[TrainedRow]:
        """The record's."""
        return self.record.rows

    @property
    def row_names(self) -> list[str]:
        """In the order of their signs."""
        return [row.name for row in self.rows]

    @property
    def several_seeds(self) -> bool:
        """Whether figures are means."""
        return any(len(seeds) > 1 for seeds in self.record.curves.values())

    @property
    def has_tests(self) -> bool:
        """Whether any difference was tested."""
        return any(s.p_value is not None for finding in self.findings for _, s in finding.scores)

    @property
    def has_intervals(self) -> bool:
        """Whether any figure has one."""
        return any(score.interval for m in self.measures for score in m.scores.values())

    @property
    def has_paper(self) -> bool:
        """Whether a paper gives figures to compare with."""
        return any(score.paper is not None for m in self.measures for score in m.scores.values())


@dataclass(frozen=True)
class Direction:
    """An order that the paper states, and where it comes out: in how many of the cases known."""

    of: str
    order: str
    cases: Sequence[Compared]

    @property
    def names(self) -> list[str]:
        """What the order is of."""
        return names_in(self.order)

    @property
    def answers(self) -> list[bool]:
        """Of the cases that have one."""
        return [case.comes_out for case in self.cases if case.comes_out is not None]

    @property
    def outcome(self) -> str:
        """For people: yes or no of one case, a count of several."""
        if not self.answers:
            return "not known"
        if self.of == LIKENESS:
            return ANSWERS[self.answers[0]]
        sets = "set" if len(self.answers) == 1 else "sets"
        return f"{sum(self.answers)} of {len(self.answers)} {sets}"


@dataclass(frozen=True)
class EmbeddingSection:
    """All that is shown of an experiment on embeddings."""

    template: ClassVar = "embeddings.html"
    findings: ClassVar = ()

    anchor: str
    record: EmbeddingRecord
    names: Sequence[str]  # of the embeddings, in the order of their signs
    directions: Sequence[Direction]
    sets: Mapping[str, ComparedInSet]
    correlation: Compared | None
    dots: DotPlot | None
    conditions: str
    settings: Settings | None  # of the models that they are of, where those were trained for it
    embeddings: Embeddings | None

    @property
    def title(self) -> str:
        """The record's."""
        return self.record.title

    @property
    def summary(self) -> str:
        """What came of the paper's orders, in few words."""
        return "; ".join(f"{found.order}: {found.outcome}" for found in self.directions)

    @property
    def several_seeds(self) -> bool:
        """Whether figures are means."""
        return self.record.seeds > 1


@dataclass(frozen=True)
class AnalysisSection:
    """All that is shown of an analysis that comes without a run."""

    template: ClassVar = "analysis.html"
    findings: ClassVar = ()

    anchor: str
    title: str
    row_names: Sequence[str]  # of the checkpoints with a tie map
    ties: TieMaps | None
    embeddings: Embeddings
    versions: Mapping[str, str]

    @property
    def summary(self) -> str:
        """The embeddings by name."""
        return ", ".join(self.embeddings.names)


def render(runs: Sequence[Run | AnalysisAlone], command: str) -> str:
    """The page of ``runs``; ``command`` is the one that makes it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        count=lambda number: f"{number:,}",
        figure=lambda number, places: _minus(f"{number:.{places}f}"),
        change=lambda number, places: _minus(f"{number:+.{places}f}"),
        share=lambda number: f"{number:.1%}".replace("%", " %"),
        megabytes=lambda size: f"{size / 1e6:.1f} MB",
        duration=duration,
        look=lambda number: number % LOOKS,
        shape=lambda number: (number + number // LOOKS) % LOOKS,  # another for a colour's next
        answer=ANSWERS.get,
        fields=asdict,
    )
    sections = [_section(run, f"run-{i}") for i, run in enumerate(runs, start=1)]
    return environment.get_template("page.html").render(
        sections=sections,
        command=command,
        canvas=charts,
        metric_names=METRICS,
        SIMILARITY=SIMILARITY,
        LIKENESS=LIKENESS,
    )


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _section(run: Run | AnalysisAlone, anchor: str) -> Section | EmbeddingSection | AnalysisSection:
    if isinstance(run, AnalysisAlone):
        return _analysis_section(run, anchor)
    if isinstance(run.record, EmbeddingRecord):
        return _embedding_section(run, run.record, anchor)
    if isinstance(run.record, ExperimentRecord):
        return _measured_section(run, run.record, anchor)
    raise UserError(f"{run.record.experiment}: the page does not show the kind {run.record.kind}")


def _measured_section(run: Run, record: ExperimentRecord, anchor: str) -> Section:
    figures = kind_of(record).figures
    assert figures.measures and figures.curve_axes
    measures = figures.measures(record)
    parameters = {row.name: row.parameters for row in record.rows}
    comparisons: Mapping[str, Sequence[Comparison]] = {}
    baseline = record.rows[0].name
    if isinstance(record, TranslationRecord):
        comparisons, baseline = record.comparisons, record.baseline
    return Section(
        anchor=anchor,
        record=record,
        baseline=baseline,
        findings=_findings(measures, parameters, baseline),
        measures=measures,
        conditions=figures.conditions(record),
        panels=[charts.over_parameters(m, parameters) for m in measures if m.drawn],
        curves=charts.learning_curves(record.curves, figures.curve_axes),
        comparisons=[
            {**asdict(comparison), "subset": subset}
            for subset, of_subset in comparisons.items()
            for comparison in of_subset
            if comparison.metric in METRICS
        ],
        ties=_ties(run.ties),
        embeddings=embeddings(run.analysis) if run.analysis else None,
        samples=run.samples,
        settings=settings.compare([row.recipe for row in record.rows]),
        curve_columns=[
            row if seed == 1 else f"{row}, seed {seed}"
            for row, seeds in record.curves.items()
            for seed in range(1, len(seeds) + 1)
        ],
        curve_rows=_curve_rows(record.curves, figures.curve_axes),
    )


def _curve_rows(curves: Curves, axes: CurveAxes) -> list[tuple[int, list[float | None]]]:
    """The heights of all curves, by their place on the x axis."""
    lines = [
        {getattr(point, axes.x): axes.y(point) for point in points}
        for seeds in curves.values()
        for points in seeds
    ]
    places = sorted({x for line in lines for x in line})
    return [(x, [line.get(x) for line in lines]) for x in places]


def _findings(
    measures: Sequence[Measure], parameters: Mapping[str, int], baseline: str
) -> list[Finding]:
    return [
        Finding(
            row,
            number,
            count,
            count / parameters[baseline],
            [(m, m.scores[row]) for m in measures if m.headline],
        )
        for number, (row, count) in enumerate(parameters.items())
        if row != baseline
    ]


def _embedding_section(run: Run, record: EmbeddingRecord, anchor: str) -> EmbeddingSection:
    sets, correlation = similarity_of(record), correlation_of(record)
    names = list(next(iter(sets.values())).figures)
    cases: dict[str, list[Compared]] = {SIMILARITY: [*sets.values()]}
    if correlation:
        cases[LIKENESS] = [correlation]
    figures = {
        f"{name}, {found.covered:,} of {found.pairs:,} pairs": {
            letter: (figure.mean, interval_of_mean(figure))
            for letter, figure in found.figures.items()
            if figure
        }
        for name, found in sets.items()
    }
    return EmbeddingSection(
        anchor=anchor,
        record=record,
        names=names,
        directions=[
            Direction(of, found[0].order, found) for of, found in cases.items() if found[0].order
        ],
        sets=sets,
        correlation=correlation,
        dots=charts.by_set(figures, names),
        conditions=kind_of(record).figures.conditions(record),
        settings=settings.compare([row.recipe for row in record.rows]) if record.rows else None,
        embeddings=embeddings(run.analysis) if run.analysis else None,
    )


def _analysis_section(found: AnalysisAlone, anchor: str) -> AnalysisSection:
    ties = analyses.tie_maps(found.analysis)
    return AnalysisSection(
        anchor=anchor,
        title=f"Embeddings: {found.name}",
        row_names=list(ties),
        ties=_ties(ties),
        embeddings=embeddings(found.analysis),
        versions=found.analysis["versions"],
    )


def _ties(ties: Mapping[str, TieMap]) -> TieMaps | None:
    if not ties:
        return None
    columns = tie_maps.columns(ties)
    return TieMaps(
        columns,
        {name: list(tie_maps.cells(tie, columns)) for name, tie in ties.items()},
        {name: tie.total for name, tie in ties.items()},
    )

"""Tables and charts of the search for the form of projection regularisation."""

from __future__ import annotations

from scripts.lab.figures.experiment import repeated
from scripts.lab.records.schema import ProjectionSearchRecord
from tiednmt.seeds import mean_and_sd
from tiednmt.show.figures import Axis, Chart, Figures, Picture, Point, Series, Table


def figures(record: ProjectionSearchRecord) -> Figures:
    """A row per variant: what it changes and its perplexities; their curves."""
    head = ["variant", "changes", "seeds", "epochs", "train", "validation", "test"]
    rows = [
        [
            row.name,
            ", ".join(f"{field} {value}" for field, value in row.changes.items()),
            str(row.train.seeds),
            str(row.epochs),
            mean_and_sd(row.train, 1),
            mean_and_sd(row.valid, 1),
            mean_and_sd(row.test, 1) if row.test else "",
        ]
        for row in record.variants
    ]
    names = [row.name for row in record.variants]
    series = [
        Series(row.name, look, [Point(i, epoch.valid) for i, epoch in enumerate(run, 1)])
        for look, row in enumerate(record.variants)
        for run in row.curves
    ]
    curves = Chart(
        title="Learning curves",
        description="validation perplexity over epochs; the last ones are in the table",
        x=Axis("epochs", low=0),
        y=Axis("validation perplexity", logarithmic=True),
        series=series,
    )
    return Figures(
        title=record.title,
        names=names,
        summary=[
            Table(head, rows, left=2, caption="Perplexity"),
            Picture("perplexity-over-epochs", [curves]),
        ],
        parts=repeated(record, curves),
    )

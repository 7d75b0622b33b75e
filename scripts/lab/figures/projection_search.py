"""What is shown of the search for the form of projection regularisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scripts.lab.figures.experiment import repeated
from scripts.lab.records.figures import Axis, Chart, Figures, Picture, Point, Series, Table
from scripts.lab.records.seeds import mean_and_sd

Record = Mapping[str, Any]


def figures(record: Record) -> Figures:
    """A row a reading: what it changes and its perplexities; their curves."""
    readings = record["readings"]
    head = ["reading", "changes", "seeds", "epochs", "train", "validation", "test"]
    rows = [
        [
            row["name"],
            ", ".join(f"{field} {value}" for field, value in row["changes"].items()),
            str(row["train"]["seeds"]),
            str(row["epochs"]),
            *(mean_and_sd(row[subset], 1) for subset in ("train", "valid")),
            mean_and_sd(row["test"], 1) if "test" in row else "",
        ]
        for row in readings
    ]
    names = [row["name"] for row in readings]
    series = [
        Series(row["name"], look, [Point(i, epoch["valid"]) for i, epoch in enumerate(run, 1)])
        for look, row in enumerate(readings)
        for run in row["curves"]
    ]
    curves = Chart(
        title="Learning curves",
        description="validation perplexity over epochs; the last ones are in the table",
        x=Axis("epochs", low=0),
        y=Axis("validation perplexity", logarithmic=True),
        series=series,
    )
    return Figures(
        title="Search for the form of projection regularisation",
        names=names,
        summary=[
            Table(head, rows, left=2, caption="Perplexity"),
            Picture("perplexity-over-epochs", [curves]),
        ],
        parts=repeated(record, curves),
    )

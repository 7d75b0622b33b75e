"""What is shown of language models: perplexity beside a paper's, or their first updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
from scripts.lab.records.figures import Axis, Cell, Figures, Picture, Table, perplexity
from scripts.lab.records.seeds import interval_of_mean, mean_and_sd

# a figure of a row, and the key of what the paper says of it
PAPER = {
    "parameters": "paper_parameters",
    "train": "paper_train",
    "valid": "paper_valid",
    "test": "paper",
}
SUBSETS = ("train", "valid", "test")
PERPLEXITY = Axis("validation perplexity", logarithmic=True)

Record = Mapping[str, Any]


def figures(record: Record) -> Figures:
    """Sizes and perplexities beside the paper's, and how they were come by."""
    rows = record["rows"]
    measures = {subset: _measure(rows, subset) for subset in SUBSETS if subset in rows[0]}
    curves = _curves(record, "epoch")
    several = any(row["test"]["seeds"] > 1 for row in rows)
    return Figures(
        title=record["title"],
        names=[row["name"] for row in rows],
        lead=lead(rows[0], [measures["test"]], others=len(rows) > 1),
        findings=findings(rows, rows[0], [measures["test"]]),
        summary=[
            Picture(
                "perplexity-over-parameters",
                [over_parameters(m, rows) for subset, m in measures.items() if subset != "train"],
                note=NOTE_OF_SEEDS
                if several
                else "One seed was trained, so there are no confidence intervals.",
            ),
            Picture("perplexity-over-epochs", [curves]),
            _scores(rows),
            conditions(record),
        ],
        parts=repeated(record, curves),
    )


def figures_of_first_updates(record: Record) -> Figures:
    """Validation perplexity over the updates."""
    curves = {name: of_row[0] for name, of_row in record["curves"].items()}
    updates = [point["update"] for point in next(iter(curves.values()))]
    rows = [
        [row["name"], f"{row['parameters']:,}"]
        + [f"{perplexity(point['nll']):,.0f}" for point in curves[row["name"]]]
        for row in record["rows"]
    ]
    head = ["validation perplexity after", "parameters", *(f"{u:,} updates" for u in updates)]
    # the command is that of all rows, which may have joined
    conditions = (
        f"{record['title']}; {trained_on(record['machine'])}. "
        f"`python -m scripts.reproduce {record['experiment']}`"
    )
    chart = _curves(record, "update")
    return Figures(
        title=record["title"],
        names=list(curves),
        summary=[
            Picture("perplexity-over-updates", [chart]),
            Table(head, rows, caption="Perplexity"),
            conditions,
        ],
        parts=repeated(record, chart),
    )


def conditions(record: Record) -> str:
    """How it was scored, seeds, machine, and the experiment's note."""
    spread = _spread(record["rows"])
    sentences = (
        f"{record['title']}. Perplexity of the checkpoint that is best on the validation set, "
        f"in one stream, its state carried{spread}; {trained_on(record['machine'])}.",
        record["note"],
    )
    return " ".join(filter(None, sentences))


def _curves(record: Record, x: str) -> Any:
    return learning_curves(record, x, PERPLEXITY, lambda point: perplexity(point["nll"]))


def _spread(rows: Sequence[Record]) -> str:
    counts = {row["test"]["seeds"] for row in rows}
    several = sorted(counts - {1})
    if not several:
        return ""
    where = " where a spread stands" if 1 in counts else ""
    numbers = " or ".join(map(str, several))
    return f"; mean ± standard deviation of {numbers} seeds{where}"


def _scores(rows: Sequence[Record]) -> Table:
    shown = [key for key in PAPER if key in rows[0]]
    compared = [key for key in shown if any(row[PAPER[key]] is not None for row in rows)]
    head = [name for key in shown for name in ([key, "paper"] if key in compared else [key])]
    cells = [
        [
            row["name"],
            *(
                cell
                for key in shown
                for cell in ([_figure(row[key]), _given(row[PAPER[key]])][: 1 + (key in compared)])
            ),
            str(row["epochs"]),
            duration(row["training_seconds"]),
        ]
        for row in rows
    ]
    caption = "Sizes and perplexities; below each perplexity the 95 % interval of the mean"
    return Table(["", *head, "epochs", "training"], cells, caption=caption)


def _figure(figure: Any) -> str | Cell:
    if isinstance(figure, int):
        return f"{figure:,}"
    interval = interval_of_mean(figure)
    below = "{:.1f}–{:.1f}".format(*interval) if interval else ""
    return Cell(mean_and_sd(figure, places=1), below)


def _given(figure: Any) -> str:
    return "–" if figure is None else str(figure)


def _measure(rows: Sequence[Record], subset: str) -> Measure:
    """Perplexity on a part of the corpus; differences are to the first row."""
    scores = {row["name"]: _score(row, rows[0], subset) for row in rows}
    return Measure("perplexity", subset, scores, places=1, better="lower")


def _score(row: Record, baseline: Record, subset: str) -> Score:
    over = row[subset]
    return Score(
        value=over["mean"],
        interval=interval_of_mean(over),
        difference=None if row is baseline else over["mean"] - baseline[subset]["mean"],
    )

"""Pictures of a record, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def plot_learning_curves(record: Mapping[str, Any], path: Path) -> None:
    """Validation loss over updates, a line a row."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in record["curves"].items():
        axes.plot([p["update"] for p in points], [p["nll"] for p in points], label=name)
    axes.set(title=record["title"], xlabel="updates", ylabel="validation loss (nats a subword)")
    axes.legend(frameon=False)
    _save(figure, path)


def plot_score_over_parameters(record: Mapping[str, Any], path: Path) -> None:
    """BLEU over parameters with 95 % bootstrap intervals, a point a row, a panel a test set."""
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
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    for suffix in (".png", ".svg"):
        temporary = path.with_name(f"{path.name}.partial{suffix}")
        figure.savefig(temporary, dpi=150)
        temporary.replace(path.with_name(path.name + suffix))

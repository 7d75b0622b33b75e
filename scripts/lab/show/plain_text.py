"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from scripts.lab.records.figures import Table
from scripts.lab.show.markdown import texts

_METRICS = {"bleu": "BLEU", "chrf": "chrF", "ter": "TER"}


def columns(table: Table) -> str:
    """The table with its columns below each other."""
    rows = [list(table.head), *(texts(row) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < table.left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def scores(record: Mapping[str, Any]) -> str:
    """What :func:`scripts.lab.score.evaluate.evaluate` records.

    A table per subset, the comparisons with each baseline, the signatures.
    """
    blocks: list[str] = []
    for subset, result in record["subset"].items():
        systems = result["systems"]
        blocks.append(
            f"{subset}: {systems[0]['sentences']:,} sentences, beam {record['beam']}, "
            f"length penalty {record['lenpen']}\n{_systems(systems)}"
        )
        by_baseline = groupby(result["comparisons"], lambda comparison: comparison["baseline"])
        blocks += [
            f"against {baseline}, paired bootstrap (for TER, less is better)\n"
            f"{_comparisons(comparisons)}"
            for baseline, comparisons in by_baseline
        ]
        signatures = [f"{name}: {systems[0][key]['signature']}" for key, name in _METRICS.items()]
        signatures += [f"{each['name']}: {each['tie']}" for each in systems if each["tie"]]
        blocks.append("\n".join(signatures))
    return "\n\n".join(blocks)


def _systems(systems: Iterable[Mapping[str, Any]]) -> str:
    head = ["system", "parameters", *_METRICS.values(), "seconds", "sentences/s"]
    rows = [
        [
            system["name"],
            f"{system['parameters']:,}",
            *(f"{system[metric]['score']:.2f}" for metric in _METRICS),
            f"{system['seconds']:.1f}",
            f"{system['sentences'] / max(system['seconds'], 0.001):.1f}",
        ]
        for system in systems
    ]
    return columns(Table(head, rows))


def _comparisons(comparisons: Iterable[Mapping[str, Any]]) -> str:
    head = ["system", "metric", "difference", "mean", "95% interval", "p"]
    rows = [
        [
            comparison["system"],
            _METRICS[comparison["metric"]],
            f"{comparison['delta']:+.2f}",
            f"{comparison['mean']:.2f}",
            "{:.2f} to {:.2f}".format(*comparison["ci"]),
            f"{comparison['p_value']:.4f}",
        ]
        for comparison in comparisons
    ]
    return columns(Table(head, rows))

"""The scores of an evaluation, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from tiednmt.metrics import (
    NOT_WORSE,
    loss,
    metric_names,
    signed,
    signed_interval,
    what_was_sampled,
)
from tiednmt.seeds import mean_and_sd, over_seeds


def columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with its columns below each other, the first of them flush left."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def scores(record: Mapping[str, Any]) -> str:
    """What :func:`tiednmt.translation.evaluation.evaluate` records.

    A table per subset, the comparisons with each baseline, the signatures; in the end the
    comparisons of the mean over the subsets.
    """
    blocks: list[str] = []
    for subset, result in record["subset"].items():
        systems = result["systems"]
        blocks.append(
            f"{subset}: {systems[0]['sentences']:,} sentences, beam {record['beam']}, "
            f"length penalty {record['lenpen']}\n{_systems(systems)}"
        )
        names = metric_names(systems[0])
        blocks += _comparisons(result["comparisons"], names)
        blocks += _domains(result.get("domains", {}))
        signatures = [f"{name}: {systems[0][key]['signature']}" for key, name in names.items()]
        ties = {each["name"]: each["tie"] for each in systems if each["tie"]}
        signatures += [f"{name}: {tie}" for name, tie in ties.items()]
        blocks.append("\n".join(signatures))
    of_means = f"mean of {', '.join(record['subset'])}, "
    blocks += _comparisons(record["mean"]["comparisons"], names, of_means)
    return "\n\n".join(blocks)


def _domains(domains: Mapping[str, Any]) -> list[str]:
    """A table of all domains, and the comparisons in each."""
    if not domains:
        return []
    names = metric_names(next(iter(domains.values()))["systems"][0])
    rows = [
        [domain, f"{of['sentences']:,}", run["name"], *(f"{run[m]['score']:.2f}" for m in names)]
        for domain, of in domains.items()
        for run in of["systems"]
    ]
    table = columns(["domain", "sentences", "system", *names.values()], rows)
    compared = (_comparisons(of["comparisons"], names, f"{d}, ") for d, of in domains.items())
    return [table, *(block for blocks in compared for block in blocks)]


def _systems(runs: Iterable[Mapping[str, Any]]) -> str:
    """A row per system; its runs have its name."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        by_name.setdefault(run["name"], []).append(run)
    several = any(len(of) > 1 for of in by_name.values())
    names = metric_names(next(iter(by_name.values()))[0])
    head = ["system", *["runs"] * several, "parameters", *names.values()]
    rows = []
    for name, of in by_name.items():
        seconds = sum(run["seconds"] for run in of)
        sentences = sum(run["sentences"] for run in of)
        means = [over_seeds([run[metric]["score"] for run in of]) for metric in names]
        rows.append(
            [
                name,
                *[str(len(of))] * several,
                f"{of[0]['parameters']:,}",
                *(mean_and_sd(mean, places=2) for mean in means),
                f"{seconds:.1f}",
                f"{sentences / max(seconds, 0.001):.1f}",
            ]
        )
    return columns([*head, "seconds", "sentences/s"], rows)


def _comparisons(
    comparisons: Iterable[Mapping[str, Any]], names: Mapping[str, str], of: str = ""
) -> list[str]:
    """A table per baseline; ``of`` says what is compared where it is no single test set."""
    by_baseline = groupby(comparisons, lambda comparison: comparison["baseline"])
    return [f"{of}against {name}; {_table(each, names)}" for name, each in by_baseline]


def _table(comparisons: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    several = [*comparisons]
    about = what_was_sampled({one["over_seeds"] for one in several})
    head = ["system", "metric", "difference", "95% interval", NOT_WORSE, "p"]
    rows = [
        [
            one["system"],
            names[one["metric"]],
            signed(one["difference"]),
            signed_interval(one["interval"]),
            loss(one["not_worse_by"]),
            f"{one['p_value']:.4f}",
        ]
        for one in several
    ]
    return f"{about} (for TER, less is better)\n{columns(head, rows)}"

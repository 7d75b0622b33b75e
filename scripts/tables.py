"""Records (``record.json``, ``results/*.json``) as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MEGABYTE = 1_000_000


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are flush left and whose others are right."""
    ruler = ["---"] * left + ["--:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *rows))


def translation_table(record: Mapping[str, Any]) -> str:
    """Sizes, scores with their signatures, times and the comparison with the baseline."""
    subsets = list(record["rows"][0]["test"])
    head = ["", "parameters", f"of {record['baseline']}", "checkpoint"]
    for subset in subsets:
        head += [f"{subset} BLEU", "chrF"]
    head.append("training")
    rows = []
    for row in record["rows"]:
        cells = [
            row["name"],
            f"{row['parameters']:,}",
            f"{row['share']:.1%}",
            f"{row['checkpoint_bytes'] / MEGABYTE:.1f} MB",
        ]
        for subset in subsets:
            cells += [f"{row['test'][subset][metric]['score']:.2f}" for metric in ("bleu", "chrf")]
        cells.append(_duration(row["training_seconds"]))
        rows.append(cells)
    lines = [markdown(head, rows), "", _conditions(record), ""]
    lines += _comparisons(record)
    scores = record["rows"][0]["test"][subsets[0]]
    lines += [f"- {name}: `{scores[key]['signature']}`" for key, name in METRICS.items()]
    return "\n".join(lines)


METRICS = {"bleu": "BLEU", "chrf": "chrF"}


def samples_table(record: Mapping[str, Any]) -> str:
    """The sample translations, one block a sentence."""
    blocks = (
        "\n".join(f"- {name}: {text}" for name, text in sample.items())
        for sample in record["samples"]
    )
    return "\n\n".join(blocks)


def benchmark_table(record: Mapping[str, Any]) -> str:
    """Both sides of a benchmark, the ratio with its spread, and where it was measured."""
    sides = [record["ours"], record["against"]]
    rows = [
        [s["name"], f"{s['median']:,}", f"{min(s['runs']):,}–{max(s['runs']):,}"] for s in sides
    ]
    ratio, where = record["ratio"], record["machine"]
    device = where["processor"] if where["device"] == "CPU" else where["device"]
    return "\n".join(
        (
            markdown(["", "median", "range"], rows),
            "",
            f"Ratio {ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f}). "
            f"{record['what']}; {len(sides[0]['runs'])} runs a side in turn, "
            f"{where['threads_per_run']} thread(s), {device}. `{record['command']}`",
        )
    )


def _conditions(record: Mapping[str, Any]) -> str:
    where = record["machine"]
    device = where["device"]
    if device == "CPU":
        device = f"{where['processor']} (CPU, {where['threads_per_run']} thread(s) a run)"
    types = record["vocabulary"]
    return (
        f"{record['title']}. Beam {record['beam']}, {record['rows'][0]['updates']:,} updates a "
        f"row, trained on {device}, {where['runs_side_by_side']} run(s) side by side. "
        f"Rows of the embeddings: three times {types['joint']:,} for none (separate dictionaries "
        f"would need {types['source']:,} + 2 × {types['target']:,}), once for three-way."
    )


def _comparisons(record: Mapping[str, Any]) -> list[str]:
    lines = []
    for subset, comparisons in record["comparisons"].items():
        found: dict[str, list[str]] = {}
        for c in comparisons:
            if c["metric"] == "bleu":
                text = f"{c['system']} {c['delta']:+.2f} (p = {c['p_value']:.3f})"
                found.setdefault(c["baseline"], []).append(text)
        lines += [
            f"- {subset}, BLEU against {baseline}, paired bootstrap: {', '.join(texts)}"
            for baseline, texts in found.items()
        ]
    return lines


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"

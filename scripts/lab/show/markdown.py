"""What the Markdown of all records (``record.json``, ``results/*.json``) is made with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scripts.lab.records.schema import Machine


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are flush left and whose others are right."""
    ruler = ["---"] * left + ["--:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *rows))


def trained_on(machine: Machine) -> str:
    """Where an experiment's rows were trained, and how many at a time."""
    device = machine.device
    if device == "CPU":
        device = f"{machine.processor} (CPU, {machine.threads_per_run} thread(s) a run)"
    return f"trained on {device}, {machine.runs_side_by_side} run(s) side by side"


def duration(seconds: float) -> str:
    """Seconds, or minutes where they are more than ten."""
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"

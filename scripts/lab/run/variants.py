"""Variants of projection regularisation, trained on PTB in plain PyTorch.

Each variant of ``configs/search/projection.yaml`` writes one file per seed with its figures per
epoch. It continues from its last epoch after an interruption, or when more epochs are asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from scripts.lab.baselines.plain_language_model import Training, Variant, dictionary, read
from scripts.lab.records.schema import Setting
from scripts.lab.run.processes import Child, side_by_side
from scripts.lab.run.specs import ROOT
from tiednmt.errors import UserError, one_line_errors
from tiednmt.files import named_when_whole, write_json

VARIANTS = ROOT / "configs" / "search" / "projection.yaml"

Changes = Mapping[str, Setting]


def variants() -> dict[str, Changes]:
    """The variants by name: the fields of :class:`Variant` that differ from their defaults."""
    changes: dict[str, Changes] = yaml.safe_load(VARIANTS.read_text(encoding="utf-8"))
    return changes


def _changes(name: str) -> dict[str, Any]:
    return dict(variants()[name])


def search(name: str, seed: int, epochs: int | None, data: Path, out: Path) -> None:
    """Train one variant up to ``epochs`` (None: as many as it defines), from its last epoch on."""
    changes = _changes(name)
    variant = Variant(**changes)
    saved = figures_file(name, seed, out).with_suffix(".pt")
    text = {subset: read(data, subset) for subset in ("train", "valid", "test")}
    training = Training(variant, len(dictionary(data)), seed)
    figures: dict[str, Any] = {"name": name, "seed": seed, "changes": changes, "epochs": []}
    if saved.exists():
        state = torch.load(saved)
        figures = state["record"]
        if figures["changes"] != changes:
            raise UserError(f"{saved}: made with other settings than {VARIANTS} has; delete it")
        training.model.load_state_dict(state["model"])
        write_json(figures_file(name, seed, out), figures)  # where a process ended between the two
    for epoch in range(len(figures["epochs"]) + 1, (epochs or variant.epochs) + 1):
        train = training.epoch(text["train"], epoch)
        valid = training.perplexity(text["valid"], streams=1)
        figures["epochs"].append({"train": round(train, 2), "valid": round(valid, 2)})
        if epoch == variant.epochs:
            figures["test"] = round(training.perplexity(text["test"], streams=1), 2)
        with named_when_whole(saved) as partial_file:
            torch.save({"model": training.model.state_dict(), "record": figures}, partial_file)
        write_json(figures_file(name, seed, out), figures)
        print(f"{name}: epoch {epoch}, train {train:.1f}, validation {valid:.1f}", flush=True)


def train(
    names: Sequence[str], seeds: int, epochs: int | None, data: Path, out: Path, jobs: int
) -> None:
    """:func:`search` of every variant and seed, a process each, ``jobs`` at a time.

    Raises:
        UserError: a variant has fewer epochs, or a process failed.
    """
    for name in names:
        of_variant = Variant(**_changes(name)).epochs
        if epochs is not None and epochs > of_variant:
            raise UserError(f"--epochs {epochs}: {name} has only {of_variant}")
    out.mkdir(parents=True, exist_ok=True)
    starts = []
    for seed in range(1, seeds + 1):
        for name in names:
            arguments = [name, seed, data, out, *([] if epochs is None else [epochs])]
            command = [sys.executable, "-m", __name__, *map(str, arguments)]
            log = figures_file(name, seed, out).with_suffix(".log")
            starts.append(partial(Child, name, command, log))
    side_by_side(starts, jobs)


def figures_file(name: str, seed: int, out: Path) -> Path:
    """Where the figures of a variant are kept."""
    plain = name.replace(",", "").replace("'", "")
    return out / f"{'-'.join(plain.split())}.{seed}.json"


@one_line_errors
def main() -> None:
    """One variant and seed, as :func:`train` asks for it: NAME SEED DATA OUT [EPOCHS]."""
    name, seed, data, out, *epochs = sys.argv[1:]
    search(name, int(seed), int(epochs[0]) if epochs else None, Path(data), Path(out))


if __name__ == "__main__":
    main()
